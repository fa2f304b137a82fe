#include "query/short_number.h"

bool short_number_read(struct slice text, double *number)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const uint8_t *at = text.data, *end = text.data + text.len;
    bool negative = at < end && *at == '-';
    at += negative;
    uint64_t digits = 0;
    const uint8_t *first = at;
    while (at < end && *at >= '0' && *at <= '9')
        digits = digits * 10 + (uint64_t)(*at++ - '0');
    size_t count = (size_t)(at - first), fraction = 0;
    if (count == 0)
        return false;
    if (at < end && *at == '.') {
        first = ++at;
        while (at < end && *at >= '0' && *at <= '9')
            digits = digits * 10 + (uint64_t)(*at++ - '0');
        fraction = (size_t)(at - first);
    }
    /* 15 digits are below 2^53; whatever overflowed above is not used. */
    if (at != end || count + fraction > 15)
        return false;
    double magnitude = (double)digits / powers[fraction];
    *number = negative ? -magnitude : magnitude;
    return true;
}

bool short_number_read_long(struct slice text, int64_t *number)
{
    size_t at = text.len > 0 && text.data[0] == '-';
    bool negative = at == 1;
    uint64_t digits = 0;
    if (at == text.len)
        return false;
    for (; at < text.len; at++) {
        uint8_t digit = (uint8_t)(text.data[at] - '0');
        if (digit > 9 || __builtin_mul_overflow(digits, 10u, &digits) ||
            __builtin_add_overflow(digits, digit, &digits))
            return false;
    }
    if (digits > (uint64_t)INT64_MAX + negative)
        return false;
    *number = (int64_t)(negative ? 0 - digits : digits);
    return true;
}

size_t short_number_write_long(int64_t number, char *text)
{
    char backwards[20];
    size_t len = 0, used = 0;
    uint64_t digits = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        backwards[len++] = (char)('0' + digits % 10);
        digits /= 10;
    } while (digits > 0);
    if (number < 0)
        text[used++] = '-';
    while (len > 0)
        text[used++] = backwards[--len];
    return used;
}
