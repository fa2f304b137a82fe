/* DECIMAL(p, s) with p <= 38 as an unscaled 128-bit integer; the scale is known to the caller. A
 * bool result says whether the value fits: |digits| < 10^38, or 10^precision where one is given.
 * Rounding is half up: ties go away from zero. */
#ifndef VUG_QUERY_DECIMAL_H
#define VUG_QUERY_DECIMAL_H

#include "query/value.h"

#define DECIMAL_DIGITS   38
#define DECIMAL_TEXT_MAX 44 /* sign, "0." and up to 38 digits, and the final 0 byte */

/* 10^exponent for exponents 0 to 38. */
int128 decimal_power(unsigned exponent);
bool decimal_fits(int128 digits, unsigned precision);

bool decimal_add(int128 a, int128 b, int128 *sum);
/* Of different scales, to any scale. */
bool decimal_add_scaled(int128 a, unsigned a_scale, int128 b, unsigned b_scale, unsigned scale,
                        int128 *sum);
bool decimal_multiply(int128 a, unsigned a_scale, int128 b, unsigned b_scale, unsigned scale,
                      int128 *product);
/* b != 0. As in Flink the quotient is rounded to 38 significant digits first. */
bool decimal_divide(int128 a, unsigned a_scale, int128 b, unsigned b_scale, unsigned scale,
                    int128 *quotient);
/* b != 0; the sign is that of a. */
bool decimal_modulo(int128 a, unsigned a_scale, int128 b, unsigned b_scale, unsigned scale,
                    int128 *rest);

bool decimal_rescale(int128 digits, unsigned from_scale, unsigned to_scale, int128 *rescaled);
int decimal_compare(int128 a, unsigned a_scale, int128 b, unsigned b_scale);

enum decimal_parsed { DECIMAL_PARSED, DECIMAL_TOO_LARGE, DECIMAL_NOT_A_NUMBER };
/* Sign, digits with an optional point, optional exponent; all of `text`. Rounded to `scale`. */
enum decimal_parsed decimal_parse(struct slice text, unsigned scale, int128 *digits);
/* The digits that a number was written with: 1.50 has scale 2, precision 3. For literals. An
 * exponent is not taken here. */
enum decimal_parsed decimal_parse_literal(struct slice text, int128 *digits,
                                          struct query_type *type);

/* Plain notation: -0.05, 12.50, 7. Returns the length. */
size_t decimal_format(int128 digits, unsigned scale, char text[DECIMAL_TEXT_MAX]);
double decimal_to_double(int128 digits, unsigned scale); /* correctly rounded */
/* Through the shortest decimal text of the number, as Flink does. NaN and infinities are
 * DECIMAL_NOT_A_NUMBER. */
enum decimal_parsed decimal_of_double(double number, unsigned scale, int128 *digits);

#endif
