/* Failures as clients see them: Geode's error codes and texts.
 *
 * The texts carry Java class names because clients match on them; the specification of the protocol
 * lists which. */
#ifndef VUG_PROTOCOL_FAILURE_H
#define VUG_PROTOCOL_FAILURE_H

#include <stdarg.h>

#include "common/error.h"
#include "common/slice.h"
#include "protocol/value.h"

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

void failure_vset(struct failure *failure, uint32_t code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* The failure for an operating error that has no text of Geode's. */
void failure_of_error(struct failure *failure, enum error error);

/* What every value and key of a request must pass before it is used (values before keys, as the
 * reference does): set, no custom object, and a JSON document that is one, which is cut at its end.
 * ERROR_INVALID with the failure set; ERROR_MEMORY. Null passes. */
enum error failure_check_value(struct value *value, struct failure *failure);

/* Texts that stand in more than one operation. */
#define FAILURE_JAVA_NULL_KEY   "java.lang.NullPointerException: key cannot be null"
#define FAILURE_JAVA_NULL_VALUE "java.lang.NullPointerException: value must not be null"
#define FAILURE_VALUE_NOT_SET                                                                      \
    "org.apache.geode.internal.protocol.protobuf.v1.serialization.exception.DecodingException: "   \
    "Unknown "                                                                                     \
    "Protobuf encoding type: VALUE_NOT_SET"
#define FAILURE_CUSTOM_VALUE                                                                       \
    "java.lang.IllegalStateException: Received a custom value, but did not set the valueFormat "   \
    "in the "                                                                                      \
    "handshakeMessage"
/* Followed by the text of a struct json_error. */
#define FAILURE_JSON                                                                               \
    "org.apache.geode.internal.protocol.protobuf.v1.serialization.exception.DecodingException: "   \
    "Could not "                                                                                   \
    "decode JSON-encoded object  Caused by: org.apache.geode.pdx.JSONFormatterException: Could "   \
    "not parse "                                                                                   \
    "JSON document"
/* Prefix of a failure of the connection's state; the connection is closed after it. */
#define FAILURE_STATE                                                                              \
    "org.apache.geode.internal.protocol.protobuf.v1.state.exception.ConnectionStateException: "
#define FAILURE_CONTEXT "Invalid execution context found for operation."
#define FAILURE_REGION_NOT_FOUND                                                                   \
    "org.apache.geode.cache.RegionDestroyedException: Region not found %.*s"

#endif
