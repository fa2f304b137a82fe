/* The conversions of query/value.h: CAST, and the text that people see. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/text.h"
#include "query/decimal.h"
#include "query/number.h"
#include "query/value.h"

/* ---- Timestamps ---- */

enum { DAY_MS = 24 * 60 * 60 * 1000 };

/* Days since 1970 of a date of the proleptic Gregorian calendar. The year is taken to begin in
 * March, so that the leap day is its last; 400 years have 146,097 days. */
static int64_t days_of_date(int64_t year, int month, int day)
{
    int from_march = month > 2 ? month - 3 : month + 9;
    int64_t shifted = month > 2 ? year : year - 1;
    int64_t era = (shifted >= 0 ? shifted : shifted - 399) / 400;
    int64_t year_of_era = shifted - era * 400;
    int64_t day_of_year = (153 * from_march + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static void date_of_days(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = (int)(day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100));
    int from_march = (5 * day_of_year + 2) / 153;
    *day = day_of_year - (153 * from_march + 2) / 5 + 1;
    *month = from_march < 10 ? from_march + 3 : from_march - 9;
    *year = year_of_era + era * 400 + (*month <= 2);
}

static void timestamp_text(const struct query_value *value, struct buf *text)
{
    int64_t year, days = value->integer / DAY_MS;
    int month, day, ms = (int)(value->integer % DAY_MS);
    if (ms < 0) {
        ms += DAY_MS;
        days--;
    }
    date_of_days(days, &year, &month, &day);
    buf_printf(text, "%04lld-%02d-%02d %02d:%02d:%02d", (long long)year, month, day, ms / 3600000,
               ms / 60000 % 60, ms / 1000 % 60);
    int fraction = ms % 1000, digits = 3;
    while (digits > value->scale && fraction % 10 == 0) {
        fraction /= 10;
        digits--;
    }
    if (digits > 0) {
        buf_printf(text, ".%0*d", digits, fraction);
    }
}

/* Takes up to `digits_max` digits off the front; false without any. */
static bool take_number(struct slice *text, size_t digits_max, int *number)
{
    size_t len = 0;
    *number = 0;
    while (len < text->len && len < digits_max && text->data[len] >= '0' &&
           text->data[len] <= '9') {
        *number = *number * 10 + (text->data[len++] - '0');
    }
    *text = slice_of(text->data + len, text->len - len);
    return len > 0;
}

static bool take_byte(struct slice *text, char byte)
{
    if (text->len == 0 || text->data[0] != (uint8_t)byte) {
        return false;
    }
    *text = slice_of(text->data + 1, text->len - 1);
    return true;
}

static int days_of_month(int year, int month)
{
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return DAYS[month - 1] + (month == 2 && leap);
}

/* yyyy-MM-dd, with or without a time HH:mm[:ss[.fraction]] after a blank or a T. */
static bool timestamp_parse(struct slice text, int64_t *timestamp_ms)
{
    int year, month, day, hour = 0, minute = 0, second = 0, ms = 0;
    if (!take_number(&text, 4, &year) || !take_byte(&text, '-') || !take_number(&text, 2, &month) ||
        !take_byte(&text, '-') || !take_number(&text, 2, &day) || month < 1 || month > 12 ||
        day < 1 || day > days_of_month(year, month)) {
        return false;
    }
    if (text.len > 0) {
        if ((!take_byte(&text, ' ') && !take_byte(&text, 'T')) || !take_number(&text, 2, &hour) ||
            !take_byte(&text, ':') || !take_number(&text, 2, &minute) ||
            (take_byte(&text, ':') && !take_number(&text, 2, &second))) {
            return false;
        }
        if (take_byte(&text, '.')) {
            int finer;
            size_t before = text.len;
            if (!take_number(&text, 3, &ms)) {
                return false;
            }
            for (size_t digits = before - text.len; digits < 3; digits++) {
                ms *= 10;
            }
            take_number(&text, 6, &finer);
        }
    }
    if (text.len > 0 || hour > 23 || minute > 59 || second > 59) {
        return false;
    }
    int64_t day_ms = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    *timestamp_ms = days_of_date(year, month, day) * DAY_MS + day_ms;
    return true;
}

/* ---- Text ---- */

/* The fewest digits (two or more, as in Java) that read back to the same float; as a double they
 * give the same digits. */
static double decimal_of_float(float number)
{
    char digits[32];
    if (!isfinite(number)) {
        return (double)number;
    }
    for (int after_point = 1; after_point < 9; after_point++) {
        snprintf(digits, sizeof digits, "%.*e", after_point, (double)number);
        if (strtof(digits, NULL) == number) {
            break;
        }
    }
    return strtod(digits, NULL);
}

void query_value_text(const struct query_value *value, struct buf *text)
{
    char digits[TEXT_DOUBLE_BYTES > DECIMAL_TEXT_MAX ? TEXT_DOUBLE_BYTES : DECIMAL_TEXT_MAX];
    switch (value->kind) {
    case QUERY_TYPE_NULL:
        buf_append_text(text, "NULL");
        break;
    case QUERY_TYPE_BOOLEAN:
        buf_append_text(text, value->boolean ? "TRUE" : "FALSE");
        break;
    case QUERY_TYPE_FLOAT:
        buf_append(text, digits, text_double_java(decimal_of_float(value->float32), digits));
        break;
    case QUERY_TYPE_DOUBLE:
        buf_append(text, digits, text_double_java(value->float64, digits));
        break;
    case QUERY_TYPE_DECIMAL:
        buf_append(text, digits, decimal_format(value->decimal, value->scale, digits));
        break;
    case QUERY_TYPE_STRING:
        buf_append_slice(text, value->text);
        break;
    case QUERY_TYPE_BYTES:
        for (size_t i = 0; i < value->text.len; i++) {
            buf_printf(text, "%02x", value->text.data[i]);
        }
        break;
    case QUERY_TYPE_TIMESTAMP:
        timestamp_text(value, text);
        break;
    default:
        buf_printf(text, "%lld", (long long)value->integer);
    }
}

/* ---- CAST ---- */

enum family { FAMILY_NULL, FAMILY_BOOLEAN, FAMILY_NUMBER, FAMILY_TEXT, FAMILY_BYTES, FAMILY_TIME };

static enum family family_of(enum query_type_kind kind)
{
    switch (kind) {
    case QUERY_TYPE_NULL:
        return FAMILY_NULL;
    case QUERY_TYPE_BOOLEAN:
        return FAMILY_BOOLEAN;
    case QUERY_TYPE_STRING:
        return FAMILY_TEXT;
    case QUERY_TYPE_BYTES:
        return FAMILY_BYTES;
    case QUERY_TYPE_TIMESTAMP:
        return FAMILY_TIME;
    default:
        return FAMILY_NUMBER;
    }
}

bool query_type_casts(struct query_type from, struct query_type to)
{
    enum family a = family_of(from.kind), b = family_of(to.kind);
    if (a == b || a == FAMILY_NULL || a == FAMILY_TEXT || b == FAMILY_TEXT) {
        return to.kind != QUERY_TYPE_NULL || a == FAMILY_NULL;
    }
    return (a == FAMILY_BOOLEAN && b == FAMILY_NUMBER) ||
           (query_type_is_integer(from) && b == FAMILY_BOOLEAN);
}

static const char *const NOT_A_NUMBER = "the text is not a number";
static const char *const NOT_FINITE = "it is not finite";

static enum error invalid(const char *text, const char **why)
{
    *why = text;
    return ERROR_INVALID;
}

static enum error to_boolean(const struct query_value *in, struct query_value *out,
                             const char **why)
{
    static const char *const WORDS[][2] = {
        {"false", "true"}, {"f", "t"}, {"no", "yes"}, {"n", "y"}, {"0", "1"}};
    if (in->kind != QUERY_TYPE_STRING) {
        *out = (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = in->integer != 0};
        return OK;
    }
    struct slice text = text_trim(in->text);
    for (size_t row = 0; row < sizeof WORDS / sizeof *WORDS; row++) {
        for (int word = 0; word < 2; word++) {
            size_t len = strlen(WORDS[row][word]);
            if (text.len == len &&
                strncasecmp((const char *)text.data, WORDS[row][word], len) == 0) {
                *out = (struct query_value){.kind = QUERY_TYPE_BOOLEAN, .boolean = word == 1};
                return OK;
            }
        }
    }
    return invalid("the text is neither true nor false", why);
}

static enum error to_integer(const struct query_value *in, enum query_type_kind kind,
                             struct query_value *out, const char **why)
{
    int64_t integer;
    switch (in->kind) {
    case QUERY_TYPE_BOOLEAN:
        integer = in->boolean;
        break;
    case QUERY_TYPE_FLOAT:
    case QUERY_TYPE_DOUBLE: {
        /* Java has no way from floating point to the small types but by way of int. */
        double number = number_to_double(in);
        integer = kind == QUERY_TYPE_BIGINT ? number_long_of_double(number)
                                            : number_int_of_double(number);
        break;
    }
    case QUERY_TYPE_DECIMAL:
        integer = (int64_t)(in->decimal / decimal_power(in->scale));
        break;
    case QUERY_TYPE_STRING: {
        int64_t max = kind == QUERY_TYPE_TINYINT    ? INT8_MAX
                      : kind == QUERY_TYPE_SMALLINT ? INT16_MAX
                      : kind == QUERY_TYPE_INT      ? INT32_MAX
                                                    : INT64_MAX;
        if (!number_parse_long(text_trim(in->text), -max - 1, max, &integer)) {
            return invalid("the text is not a number of that type", why);
        }
        break;
    }
    default:
        integer = in->integer;
    }
    *out = (struct query_value){.kind = kind, .integer = number_wrap(integer, kind)};
    return OK;
}

static enum error to_floating(const struct query_value *in, enum query_type_kind kind,
                              struct query_value *out, const char **why)
{
    struct query_value result = {.kind = kind};
    if (in->kind == QUERY_TYPE_STRING) {
        struct slice text = text_trim(in->text);
        bool read = kind == QUERY_TYPE_FLOAT ? number_parse_float(text, &result.float32)
                                             : number_parse_double(text, &result.float64);
        if (!read) {
            return invalid(NOT_A_NUMBER, why);
        }
    } else if (in->kind == QUERY_TYPE_BOOLEAN) {
        if (kind == QUERY_TYPE_FLOAT) {
            result.float32 = in->boolean ? 1.0f : 0.0f;
        } else {
            result.float64 = in->boolean ? 1.0 : 0.0;
        }
    } else if (kind == QUERY_TYPE_DOUBLE) {
        result.float64 = number_to_double(in);
    } else {
        result.float32 = number_to_float(in);
    }
    *out = result;
    return OK;
}

static enum error to_decimal(const struct query_value *in, struct query_type to,
                             struct query_value *out, const char **why)
{
    enum decimal_parsed parsed = DECIMAL_PARSED;
    int128 digits = 0;
    switch (in->kind) {
    case QUERY_TYPE_STRING:
        parsed = decimal_parse(text_trim(in->text), to.scale, &digits);
        break;
    case QUERY_TYPE_FLOAT:
    case QUERY_TYPE_DOUBLE:
        parsed = decimal_of_double(number_to_double(in), to.scale, &digits);
        break;
    default: {
        int128 from = in->kind == QUERY_TYPE_DECIMAL   ? in->decimal
                      : in->kind == QUERY_TYPE_BOOLEAN ? in->boolean
                                                       : in->integer;
        unsigned from_scale = in->kind == QUERY_TYPE_DECIMAL ? in->scale : 0;
        if (!decimal_rescale(from, from_scale, to.scale, &digits)) {
            parsed = DECIMAL_TOO_LARGE;
        }
    }
    }
    if (parsed == DECIMAL_NOT_A_NUMBER) {
        return invalid(in->kind == QUERY_TYPE_STRING ? NOT_A_NUMBER : NOT_FINITE, why);
    }
    *out = (struct query_value){.kind = QUERY_TYPE_NULL};
    if (parsed == DECIMAL_PARSED && decimal_fits(digits, to.precision)) {
        *out =
            (struct query_value){.kind = QUERY_TYPE_DECIMAL, .scale = to.scale, .decimal = digits};
    }
    return OK;
}

static enum error to_string(const struct query_value *in, struct arena *arena,
                            struct query_value *out, const char **why)
{
    if (in->kind == QUERY_TYPE_BYTES) {
        if (!text_is_utf8(in->text)) {
            return invalid("the bytes are not UTF-8", why);
        }
        *out = (struct query_value){.kind = QUERY_TYPE_STRING, .text = in->text};
        return OK;
    }
    enum error error = ERROR_MEMORY;
    struct buf text;
    buf_init(&text);
    query_value_text(in, &text);
    if (!text.failed) {
        char *copy = arena_strndup(arena, (const char *)text.data, text.len);
        if (copy != NULL) {
            *out =
                (struct query_value){.kind = QUERY_TYPE_STRING, .text = slice_of(copy, text.len)};
            error = OK;
        }
    }
    buf_fini(&text);
    return error;
}

static enum error to_timestamp(const struct query_value *in, struct query_type to,
                               struct query_value *out, const char **why)
{
    static const int UNITS_MS[] = {1000, 100, 10, 1};
    int64_t timestamp_ms = in->integer;
    if (in->kind == QUERY_TYPE_STRING && !timestamp_parse(text_trim(in->text), &timestamp_ms)) {
        return invalid("the text is not a timestamp like 2026-01-31 08:00:00.250", why);
    }
    int unit_ms = to.precision < 3 ? UNITS_MS[to.precision] : 1;
    *out = (struct query_value){.kind = QUERY_TYPE_TIMESTAMP,
                                .scale = to.precision < 3 ? to.precision : 3,
                                .integer = timestamp_ms / unit_ms * unit_ms};
    return OK;
}

enum error query_value_cast(const struct query_value *in, struct query_type to, struct arena *arena,
                            struct query_value *out, const char **why)
{
    if (in->kind == QUERY_TYPE_NULL) {
        *out = *in;
        return OK;
    }
    if (!query_type_casts((struct query_type){.kind = in->kind}, to)) {
        return invalid("there is no such conversion", why);
    }
    switch (to.kind) {
    case QUERY_TYPE_BOOLEAN:
        if (in->kind != QUERY_TYPE_BOOLEAN) {
            return to_boolean(in, out, why);
        }
        break;
    case QUERY_TYPE_FLOAT:
    case QUERY_TYPE_DOUBLE:
        return to_floating(in, to.kind, out, why);
    case QUERY_TYPE_DECIMAL:
        return to_decimal(in, to, out, why);
    case QUERY_TYPE_STRING:
        if (in->kind != QUERY_TYPE_STRING) {
            return to_string(in, arena, out, why);
        }
        break;
    case QUERY_TYPE_BYTES:
        *out = (struct query_value){.kind = QUERY_TYPE_BYTES, .text = in->text};
        return OK;
    case QUERY_TYPE_TIMESTAMP:
        return to_timestamp(in, to, out, why);
    default:
        return to_integer(in, to.kind, out, why);
    }
    *out = *in;
    return OK;
}
