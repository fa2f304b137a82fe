/* The packed cluster map, from a file or a locator: what is accepted keeps every rule, so packing
 * it gives a map again that packs to the same bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/cluster_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cluster_map *map = NULL, *again = NULL;
    if (cluster_map_unpack(slice_of(data, size), &map) != OK)
        return 0;
    struct buf first, second;
    buf_init(&first);
    buf_init(&second);
    if (cluster_map_pack(map, &first) == OK) {
        check(cluster_map_unpack(buf_slice(&first), &again) == OK, "a packed map is a map");
        check(again->epoch == map->epoch && again->region_count == map->region_count,
              "and the same one");
        if (cluster_map_pack(again, &second) == OK)
            check(slice_equal(buf_slice(&first), buf_slice(&second)),
                  "that packs to the same bytes");
        cluster_map_unref(again);
    }
    buf_fini(&second);
    buf_fini(&first);
    cluster_map_unref(map);
    return 0;
}
