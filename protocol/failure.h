/* Failures as clients see them: Geode's error codes and texts.
 *
 * The texts carry Java class names because clients match on them; the specification of the protocol lists which. */
#ifndef VUG_PROTOCOL_FAILURE_H
#define VUG_PROTOCOL_FAILURE_H

#include "common/error.h"
#include "common/slice.h"

enum failure_code {
    FAILURE_AUTHENTICATION_FAILED = 11,
    FAILURE_AUTHORIZATION_FAILED = 20,
    FAILURE_INVALID_REQUEST = 50,
    FAILURE_UNSUPPORTED_OPERATION = 60,
    FAILURE_SERVER_ERROR = 100,
    FAILURE_NO_AVAILABLE_SERVER = 101,
};

struct failure {
    uint32_t code;
    char text[2048]; /* clipped at a character */
};

void failure_set(struct failure *failure, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The failure for an operating error that has no text of Geode's. */
void failure_of_error(struct failure *failure, enum error error);

/* Texts that stand in more than one operation. */
#define FAILURE_JAVA_NULL_KEY "java.lang.NullPointerException: key cannot be null"
#define FAILURE_JAVA_NULL_VALUE "java.lang.NullPointerException: value must not be null"
#define FAILURE_VALUE_NOT_SET                                                                                \
    "org.apache.geode.internal.protocol.protobuf.v1.serialization.exception.DecodingException: Unknown "      \
    "Protobuf encoding type: VALUE_NOT_SET"
#define FAILURE_CONTEXT "Invalid execution context found for operation."
#define FAILURE_REGION_NOT_FOUND                                                                             \
    "org.apache.geode.cache.RegionDestroyedException: Region not found %.*s"

#endif
