#include "common/text.h"

enum {
    NEAREST_WORD_BYTES = 64, /* longer words have no near relatives that help */
};

/* ---- UTF-8 ---- */

size_t text_utf8_len(const uint8_t *data, size_t len)
{
    uint8_t first = data[0];
    uint8_t low = 0x80, high = 0xbf; /* bounds of the second byte */
    size_t size;

    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (len < size)
        return 0;
    /* The second byte carries what makes a sequence overlong, a surrogate or too large. */
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (data[1] < low || data[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++) {
        if ((data[i] & 0xc0) != 0x80)
            return 0;
    }
    return size;
}

bool text_is_utf8(struct slice slice)
{
    size_t at = 0;

    while (at < slice.len) {
        size_t len;

        if (slice.len - at >= 8) {
            uint64_t eight;

            memcpy(&eight, slice.data + at, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += 8;
                continue;
            }
        }
        len = text_utf8_len(slice.data + at, slice.len - at);
        if (len == 0)
            return false;
        at += len;
    }
    return true;
}

/* ---- Did you mean ---- */

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte - 'A' + 'a') : byte;
}

/* The edit distance with transpositions of neighbours counted once, as typing errors are. */
static size_t edit_distance(struct slice a, struct slice b)
{
    size_t rows[3][NEAREST_WORD_BYTES + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= b.len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *oldest = before;

        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = lower(a.data[i - 1]) == lower(b.data[j - 1]);
            size_t best = last[j - 1] + (same ? 0 : 1);

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && lower(a.data[i - 1]) == lower(b.data[j - 2]) &&
                lower(a.data[i - 2]) == lower(b.data[j - 1]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        before = last;
        last = now;
        now = oldest;
    }
    return last[b.len];
}

void text_nearest_init(struct text_nearest *nearest, struct slice word)
{
    *nearest = (struct text_nearest){.word = word, .best_distance = SIZE_MAX};
}

void text_nearest_offer(struct text_nearest *nearest, const char *candidate)
{
    struct slice other = slice_text(candidate);
    size_t longer = other.len > nearest->word.len ? other.len : nearest->word.len;
    size_t allowed = longer / 3 > 0 ? longer / 3 : 1;
    size_t distance;

    if (nearest->word.len > NEAREST_WORD_BYTES || other.len > NEAREST_WORD_BYTES ||
        nearest->word.len == 0 || other.len == 0)
        return;
    distance = edit_distance(nearest->word, other);
    /* A word of which nothing is left has not been recognised. */
    if (distance > allowed || distance >= longer || distance >= nearest->best_distance)
        return;
    nearest->best = candidate;
    nearest->best_distance = distance;
}

const char *text_nearest_best(const struct text_nearest *nearest)
{
    return nearest->best;
}

/* ---- Numbers and durations ---- */

bool text_parse_u64(struct slice text, uint64_t *number)
{
    uint64_t value = 0;

    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t digit = (uint8_t)(text.data[i] - '0');

        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return true;
}

bool text_parse_i64(struct slice text, int64_t *number)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    uint64_t value;

    if (negative)
        text = slice_of(text.data + 1, text.len - 1);
    if (!text_parse_u64(text, &value) || value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *number = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

struct unit {
    const char *word;
    uint64_t factor;
};

/* A whole number and one of the units behind it. */
static enum error parse_with_unit(struct slice text, const struct unit *units, size_t unit_count,
                                  uint64_t *result)
{
    size_t digits = 0;
    struct slice unit;
    uint64_t number;

    text = text_trim(text);
    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    if (digits == 0)
        return ERROR_INVALID;
    unit = text_trim(slice_of(text.data + digits, text.len - digits));
    for (size_t i = 0; i < unit_count; i++) {
        if (!slice_equal(unit, slice_text(units[i].word)))
            continue;
        if (!text_parse_u64(slice_of(text.data, digits), &number) ||
            number > UINT64_MAX / units[i].factor)
            return ERROR_LIMIT;
        *result = number * units[i].factor;
        return OK;
    }
    return ERROR_INVALID;
}

enum error text_parse_duration(struct slice text, uint64_t *duration_ms)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};

    return parse_with_unit(text, units, sizeof units / sizeof *units, duration_ms);
}

enum error text_parse_size(struct slice text, uint64_t *bytes)
{
    static const struct unit units[] = {
        {"B", 1}, {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}};

    return parse_with_unit(text, units, sizeof units / sizeof *units, bytes);
}

/* ---- Lists and hosts ---- */

struct slice text_trim(struct slice text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = slice_of(text.data + 1, text.len - 1);
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

bool text_next_part(struct slice *list, char separator, struct slice *part)
{
    const uint8_t *end;

    if (list->len == 0)
        return false;
    end = memchr(list->data, separator, list->len);
    if (end == NULL) {
        *part = text_trim(*list);
        *list = slice_of(list->data + list->len, 0);
        return true;
    }
    size_t len = (size_t)(end - list->data);

    *part = text_trim(slice_of(list->data, len));
    *list = slice_of(end + 1, list->len - len - 1);
    return true;
}

static bool parse_port(struct slice text, uint16_t *port)
{
    uint64_t number;

    if (!text_parse_u64(text, &number) || number > UINT16_MAX)
        return false;
    *port = (uint16_t)number;
    return true;
}

/* Separates the host from the port's text; `port` is empty with data == NULL when there is none. */
static bool split_host(struct slice text, struct slice *host, struct slice *port)
{
    const uint8_t *colon, *bracket;

    *port = slice_of(NULL, 0);
    if (text.len > 0 && text.data[0] == '[') {
        /* An IPv6 address in brackets, then nothing, ":P" or "[P]". */
        const uint8_t *close = memchr(text.data, ']', text.len);

        if (close == NULL)
            return false;
        *host = slice_of(text.data + 1, (size_t)(close - text.data) - 1);
        text = slice_of(close + 1, text.len - host->len - 2);
        if (text.len == 0)
            return true;
    } else {
        bracket = memchr(text.data, '[', text.len);
        colon = memchr(text.data, ':', text.len);
        /* More than one colon without brackets is an IPv6 address without a port. */
        if (bracket == NULL && colon != NULL &&
            memchr(colon + 1, ':', text.len - (size_t)(colon - text.data) - 1) != NULL)
            colon = NULL;
        if (bracket == NULL && colon == NULL) {
            *host = text;
            return true;
        }
        *host = slice_of(text.data, (size_t)((bracket != NULL ? bracket : colon) - text.data));
        text = slice_of(text.data + host->len, text.len - host->len);
    }
    if (text.data[0] == ':') {
        *port = slice_of(text.data + 1, text.len - 1);
        return true;
    }
    if (text.len < 2 || text.data[0] != '[' || text.data[text.len - 1] != ']')
        return false;
    *port = slice_of(text.data + 1, text.len - 2);
    return true;
}

enum error text_parse_host_port(struct slice text, uint16_t default_port,
                                struct text_host_port *result)
{
    struct slice host, port;
    uint16_t number = default_port;

    text = text_trim(text);
    if (text.len == 0 || !split_host(text, &host, &port))
        return ERROR_INVALID;
    host = text_trim(host);
    if (host.len == 0 || host.len >= sizeof result->host)
        return ERROR_INVALID;
    for (size_t i = 0; i < host.len; i++) {
        if (host.data[i] <= ' ' || host.data[i] == 0x7f || host.data[i] == '[' ||
            host.data[i] == ']' || host.data[i] == '/' || host.data[i] == ',')
            return ERROR_INVALID;
    }
    if (port.data != NULL && !parse_port(port, &number))
        return ERROR_INVALID;
    memcpy(result->host, host.data, host.len);
    result->host[host.len] = '\0';
    result->port = number;
    return OK;
}
