/* Which characters Java takes in an identifier: what an unquoted field name of a JSON document may
 * hold, and how far a word reaches that an error text repeats. By UTF-16 unit, as the reference
 * does: beyond the basic plane there are none. */
#ifndef VUG_PROTOCOL_JAVA_IDENTIFIER_H
#define VUG_PROTOCOL_JAVA_IDENTIFIER_H

#include <stdbool.h>
#include <stdint.h>

/* Character.isJavaIdentifierPart(). */
bool java_is_identifier_part(uint32_t unit);

/* Character.isJavaIdentifierStart(), except that digits and marks beyond ASCII count as letters:
 * only the choice between two error texts depends on it. */
bool java_is_identifier_start(uint32_t unit);

#endif
