/* Small readings and writings of text that several folders share: UTF-8, "did you mean", host
 * lists, durations and numbers. Nothing here allocates. */
#ifndef VUG_COMMON_TEXT_H
#define VUG_COMMON_TEXT_H

#include "common/error.h"
#include "common/slice.h"

/* The length of the UTF-8 sequence at the start of `data`: 1 to 4, or 0 if the bytes there are none
 * (overlong forms, surrogates and what lies beyond U+10FFFF included). `len` must be above zero. */
size_t text_utf8_len(const uint8_t *data, size_t len);

/* True if no byte is above 127: then it is UTF-8, too. */
static inline bool text_is_ascii(struct slice text)
{
    uint64_t seen = 0, word;
    uint32_t half;
    size_t at = 0;

    if (text.len >= 8) {
        for (; at + 8 < text.len; at += 8) {
            memcpy(&word, text.data + at, sizeof word);
            seen |= word;
        }
        memcpy(&word, text.data + text.len - 8, sizeof word); /* again some of them, perhaps */
        return ((seen | word) & UINT64_C(0x8080808080808080)) == 0;
    }
    if (text.len >= 4) {
        memcpy(&half, text.data, sizeof half);
        seen = half;
        memcpy(&half, text.data + text.len - 4, sizeof half);
        return ((seen | half) & 0x80808080) == 0;
    }
    for (; at < text.len; at++)
        seen |= text.data[at];
    return (seen & 0x80) == 0;
}

/* True if the whole slice is UTF-8; the empty one is. */
bool text_is_utf8(struct slice slice);

/* The nearest of some names to a word that was not found, for "did you mean": offer every
 * candidate, then ask. Case does not count. A candidate is near enough when a third of the word's
 * characters would have to change at most, or one character of a short word. Candidates are kept by
 * pointer. */
struct text_nearest {
    struct slice word;
    const char *best;
    size_t best_distance;
};
void text_nearest_init(struct text_nearest *nearest, struct slice word);
void text_nearest_offer(struct text_nearest *nearest, const char *candidate);
const char *text_nearest_best(const struct text_nearest *nearest); /* NULL if none is near enough */

/* A decimal number without sign, space or anything else around it. False too when it does not fit.
 */
bool text_parse_u64(struct slice text, uint64_t *number);

/* With an optional minus sign. */
bool text_parse_i64(struct slice text, int64_t *number);

/* A duration with its unit: ms, s, min, h or d ("250ms", "5s"). ERROR_INVALID without a unit, since
 * nobody knows what was meant; ERROR_LIMIT when it does not fit. */
enum error text_parse_duration(struct slice text, uint64_t *duration_ms);

/* A size with its unit: B, KiB, MiB or GiB ("48MiB"). Errors as above. */
enum error text_parse_size(struct slice text, uint64_t *bytes);

/* Where to connect to: "H[P]", "H:P", "[v6]:P", "[v6][P]", "v6" or "H". ERROR_INVALID when it is
 * none of these or the port is not 0 to 65535. Spaces around it do not count. */
enum { TEXT_HOST_BYTES = 256 };
struct text_host_port {
    char host[TEXT_HOST_BYTES];
    uint16_t port;
};
enum error text_parse_host_port(struct slice text, uint16_t default_port,
                                struct text_host_port *result);

/* Takes the next part up to `separator` off a list, without the spaces around it; false when
 * nothing is left. Commas inside brackets do not occur in what we read, so none are looked for. */
bool text_next_part(struct slice *list, char separator, struct slice *part);

/* Without the spaces and tabs at both ends. */
struct slice text_trim(struct slice text);

/* The fewest digits that read back to the same double, as in JSON: 3.9, 30, 1e+300; bare NaN,
 * Infinity, -Infinity. Returns the length. */
enum { TEXT_DOUBLE_BYTES = 32 };
size_t text_double(double number, char out[TEXT_DOUBLE_BYTES]);

/* The same digits in the layout of Java's Double.toString(): 1.5, 100.0, 1.0E7, 1.0E-4, 4.9E-324.
 */
size_t text_double_java(double number, char out[TEXT_DOUBLE_BYTES]);

#endif
