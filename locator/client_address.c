#include "locator/client_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/text.h"

enum { RULES_MAX = 64, HOST_BYTES = 256, ADDRESS_BYTES = 16, ADDRESS_BITS = 128 };

struct rule {
    uint8_t address[ADDRESS_BYTES]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;                  /* of it that count */
    bool matches_nobody;            /* gateway, where there is none */
    bool tells_name;
    char host[HOST_BYTES];
};

struct client_address {
    uint32_t count;
    struct rule rules[RULES_MAX];
};

/* How many bits the address has is told in *bits: 128, or 32 for IPv4. */
static bool read_address(struct slice text, uint8_t address[ADDRESS_BYTES], unsigned *bits)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    *bits = 32;
    if (inet_pton(AF_INET, copy, address + sizeof mapped) == 1) {
        memcpy(address, mapped, sizeof mapped);
        return true;
    }
    *bits = ADDRESS_BITS;
    return inet_pton(AF_INET6, copy, address) == 1;
}

static bool read_source(struct slice source, const char *gateway, struct rule *rule)
{
    unsigned width;
    if (slice_equal(source, slice_text("*")))
        return true; /* no bit counts */
    if (slice_equal(source, slice_text("gateway"))) {
        rule->bits = ADDRESS_BITS;
        rule->matches_nobody =
            gateway == NULL || !read_address(slice_text(gateway), rule->address, &width);
        return true;
    }
    const uint8_t *slash = memchr(source.data, '/', source.len);
    struct slice address = source;
    uint64_t prefix = 0;
    if (slash != NULL) {
        address.len = (size_t)(slash - source.data);
        struct slice bits = slice_of(slash + 1, source.len - address.len - 1);
        if (!text_parse_u64(bits, &prefix))
            return false;
    }
    if (!read_address(address, rule->address, &width) || prefix > width)
        return false;
    rule->bits = ADDRESS_BITS - width + (slash == NULL ? width : (unsigned)prefix);
    return true;
}

static bool read_rule(struct slice part, const char *gateway, struct rule *rule)
{
    const uint8_t *equals = memchr(part.data, '=', part.len);
    if (equals == NULL)
        return false;
    size_t at = (size_t)(equals - part.data);
    struct slice source = text_trim(slice_of(part.data, at));
    struct slice host = text_trim(slice_of(equals + 1, part.len - at - 1));
    rule->tells_name = slice_equal(host, slice_text("@name"));
    if (host.len == 0 || host.len >= sizeof rule->host ||
        (host.data[0] == '@' && !rule->tells_name))
        return false;
    memcpy(rule->host, host.data, host.len);
    return read_source(source, gateway, rule);
}

enum error client_address_new(const char *text, const char *gateway, struct client_address **out,
                              char problem[256])
{
    struct slice rest = slice_text(text), part;
    struct client_address *rules = mem_zalloc(sizeof *rules);
    enum error error = rules == NULL ? ERROR_MEMORY : OK;
    while (error == OK && text_next_part(&rest, ',', &part)) {
        if (rules->count == RULES_MAX) {
            snprintf(problem, 256, "more than %d rules", RULES_MAX);
            error = ERROR_LIMIT;
        } else if (!read_rule(part, gateway, &rules->rules[rules->count])) {
            snprintf(problem, 256,
                     "\"%.*s\" is no rule; write SOURCE=HOST, where SOURCE is gateway, an address, "
                     "ADDRESS/BITS or *, and HOST a name, an address or @name",
                     (int)(part.len < 64 ? part.len : 64), (const char *)part.data);
            error = ERROR_INVALID;
        } else {
            rules->count++;
        }
    }
    if (error != OK) {
        mem_free(rules);
        return error;
    }
    *out = rules;
    return OK;
}

void client_address_free(struct client_address *rules)
{
    mem_free(rules);
}

static bool begins_with(const uint8_t *address, const uint8_t *prefix, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    return memcmp(address, prefix, bytes) == 0 &&
           (rest == 0 || (address[bytes] ^ prefix[bytes]) >> (8 - rest) == 0);
}

struct slice client_address_of(const struct client_address *rules, const char *from,
                               struct slice name, struct slice host)
{
    uint8_t address[ADDRESS_BYTES] = {0};
    unsigned width;
    if (rules == NULL || !read_address(slice_text(from), address, &width))
        return host;
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->rules[i];
        if (!rule->matches_nobody && begins_with(address, rule->address, rule->bits))
            return rule->tells_name ? name : slice_text(rule->host);
    }
    return host;
}

/* One line for each route: interface, destination, gateway, ..., in hexadecimal as the machine has
 * them in memory. The default route is the one to 00000000. */
bool client_address_gateway(struct slice routes, char gateway[16])
{
    struct slice line;
    while (text_next_part(&routes, '\n', &line)) {
        char copy[256];
        unsigned destination, address;
        size_t len = line.len < sizeof copy ? line.len : sizeof copy - 1;
        memcpy(copy, line.data, len);
        copy[len] = '\0';
        if (sscanf(copy, "%*s %x %x", &destination, &address) == 2 && destination == 0 &&
            address != 0) {
            struct in_addr in = {.s_addr = address};
            return inet_ntop(AF_INET, &in, gateway, 16) != NULL;
        }
    }
    return false;
}
