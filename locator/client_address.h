/* Which name of a server a client is told, by where the client asks from.
 *
 * A cluster in containers has two audiences: programs beside the servers reach them by their names,
 * programs of the host by published ports on "localhost". The rules choose: the first whose source
 * has the client's address wins; without one it is the address that the server has given.
 *
 *   gateway=localhost, 172.16.0.0/12=@name, *=cache.example.net
 *
 * A source is `gateway` (the default gateway of this machine, which is where the traffic of
 * published ports comes from), an address, a range ADDRESS/BITS, or `*`. What is told is a host, or
 * `@name`, the member's name. */
#ifndef VUG_LOCATOR_CLIENT_ADDRESS_H
#define VUG_LOCATOR_CLIENT_ADDRESS_H

#include "common/error.h"
#include "common/slice.h"

struct client_address;

/* `gateway` is the address of the default gateway, NULL if there is none: its rules then match
 * nobody. ERROR_INVALID fills `problem`: what cannot be read, and what would be. ERROR_LIMIT,
 * ERROR_MEMORY. */
enum error client_address_new(const char *rules, const char *gateway, struct client_address **out,
                              char problem[256]);
void client_address_free(struct client_address *rules); /* NULL is allowed */

/* The host that a client at `from` (numeric) is told. `rules` NULL: the server's own. The result
 * lives as long as the rules and the arguments. */
struct slice client_address_of(const struct client_address *rules, const char *from,
                               struct slice name, struct slice host);

/* The default gateway of this machine for IPv4, from the content of /proc/net/route. False: none.
 */
bool client_address_gateway(struct slice routes, char gateway[16]);

#endif
