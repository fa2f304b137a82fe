/* Errors and invariants.
 *
 * Operating errors are returned as enum error; a broken invariant aborts with its place. One table
 * gives each error its text; protocol/ maps errors that reach a client to Geode's codes. */
#ifndef VUG_COMMON_ERROR_H
#define VUG_COMMON_ERROR_H

#define ERROR_LIST(X)                                                                              \
    X(OK, "no error")                                                                              \
    X(ERROR_MEMORY, "out of memory")                                                               \
    X(ERROR_LIMIT, "a limit was reached")                                                          \
    X(ERROR_MALFORMED, "malformed data")                                                           \
    X(ERROR_UNSUPPORTED, "not supported")                                                          \
    X(ERROR_NOT_FOUND, "not found")                                                                \
    X(ERROR_EXISTS, "exists already")                                                              \
    X(ERROR_INVALID, "invalid request")                                                            \
    X(ERROR_UNAUTHORIZED, "not authorized")                                                        \
    X(ERROR_REFUSED, "connection refused")                                                         \
    X(ERROR_RESET, "connection reset by the peer")                                                 \
    X(ERROR_CLOSED, "connection closed by the peer")                                               \
    X(ERROR_UNREACHABLE, "host unreachable")                                                       \
    X(ERROR_NAME, "host name not known")                                                           \
    X(ERROR_NO_ADDRESS, "this host has no such address")                                           \
    X(ERROR_TIMEOUT, "timed out")                                                                  \
    X(ERROR_BUSY, "busy, try again")                                                               \
    X(ERROR_ADDRESS_IN_USE, "address in use")                                                      \
    X(ERROR_IO, "input or output error")                                                           \
    X(ERROR_DAMAGED, "stored data is damaged")                                                     \
    X(ERROR_LOCKED, "in use by another process")                                                   \
    X(ERROR_CONFLICT, "changed by somebody else in the meantime")                                  \
    X(ERROR_NO_SERVER, "no server available")                                                      \
    X(ERROR_ELSEWHERE, "another member has to do it")                                              \
    X(ERROR_IN_DOUBT, "it may or may not have happened")                                           \
    X(ERROR_SHUTDOWN, "shutting down")

enum error {
#define X(name, text) name,
    ERROR_LIST(X)
#undef X
};

/* The text of an error: static, lower case, without a full stop. */
const char *error_text(enum error error);

/* Always compiled in: a server that has lost an invariant must not go on answering. */
_Noreturn void invariant_broken(const char *kind, const char *condition, const char *file,
                                int line);
#define PRE(condition)                                                                             \
    ((condition) ? (void)0 : invariant_broken("PRE", #condition, __FILE__, __LINE__))
#define POST(condition)                                                                            \
    ((condition) ? (void)0 : invariant_broken("POST", #condition, __FILE__, __LINE__))
#define INVARIANT(condition)                                                                       \
    ((condition) ? (void)0 : invariant_broken("INVARIANT", #condition, __FILE__, __LINE__))

/* The build zeroes every local that is not initialized. For a large one on the hot path that costs
 * more than the work; whoever leaves it out writes what is read. */
#define UNINITIALIZED __attribute__((uninitialized))

#endif
