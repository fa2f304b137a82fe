#include "query/like.h"

#include "common/text.h"

static size_t character(struct slice text, size_t at)
{
    size_t len = text_utf8_len(text.data + at, text.len - at);
    return len == 0 ? 1 : len;
}

static bool is_escape(struct slice pattern, size_t at, const struct slice *escape)
{
    return escape != NULL && pattern.len - at >= escape->len &&
           memcmp(pattern.data + at, escape->data, escape->len) == 0;
}

static bool is_valid(struct slice pattern, const struct slice *escape, const char **why)
{
    if (escape == NULL)
        return true;
    if (escape->len == 0 || character(*escape, 0) != escape->len) {
        *why = "ESCAPE of LIKE must be one character";
        return false;
    }
    for (size_t at = 0; at < pattern.len; at += character(pattern, at)) {
        if (!is_escape(pattern, at, escape))
            continue;
        at += escape->len;
        bool literal = at < pattern.len && (pattern.data[at] == '%' || pattern.data[at] == '_' ||
                                            is_escape(pattern, at, escape));
        if (!literal) {
            *why = "the escape character of LIKE must stand before %, _ or itself";
            return false;
        }
    }
    return true;
}

/* One step of the pattern that is no %: matches one character of the text. Moves both on. */
static bool step(struct slice text, size_t *in_text, struct slice pattern, size_t *in_pattern,
                 const struct slice *escape)
{
    size_t text_len = character(text, *in_text), at = *in_pattern;
    bool literal = is_escape(pattern, at, escape);
    if (literal)
        at += escape->len;
    size_t pattern_len = character(pattern, at);
    bool any = !literal && pattern.data[at] == '_';
    if (!any &&
        (text_len != pattern_len || memcmp(text.data + *in_text, pattern.data + at, text_len) != 0))
        return false;
    *in_text += text_len;
    *in_pattern = at + pattern_len;
    return true;
}

/* Greedy with one place to return to: only the last % can take more, so no run is tried twice for
 * an earlier one. */
bool like_match(struct slice text, struct slice pattern, const struct slice *escape, bool *matches,
                const char **why)
{
    if (!is_valid(pattern, escape, why))
        return false;
    size_t in_text = 0, in_pattern = 0, again_text = 0, again_pattern = 0;
    bool has_again = false;
    while (in_text < text.len) {
        bool run = in_pattern < pattern.len && pattern.data[in_pattern] == '%' &&
                   !is_escape(pattern, in_pattern, escape);
        if (run) {
            has_again = true;
            again_text = in_text;
            again_pattern = ++in_pattern;
        } else if (in_pattern < pattern.len && step(text, &in_text, pattern, &in_pattern, escape)) {
            continue;
        } else if (has_again) {
            again_text += character(text, again_text);
            in_text = again_text;
            in_pattern = again_pattern;
        } else {
            *matches = false;
            return true;
        }
    }
    while (in_pattern < pattern.len && pattern.data[in_pattern] == '%' &&
           !is_escape(pattern, in_pattern, escape))
        in_pattern++;
    *matches = in_pattern == pattern.len;
    return true;
}
