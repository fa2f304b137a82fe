/* Shared by the files of cluster_map.h, for nobody else. */
#ifndef VUG_PROTOCOL_CLUSTER_MAP_IMPL_H
#define VUG_PROTOCOL_CLUSTER_MAP_IMPL_H

#include "protocol/cluster_map.h"

/* An open map with nothing set. */
struct cluster_map *cluster_map_empty(void);

/* Copies into the map's arena. An empty slice always succeeds. */
bool cluster_map_keep(struct cluster_map *map, struct slice from, struct slice *to);
bool cluster_map_keep_member(struct cluster_map *map, const struct cluster_member *from,
                             struct cluster_member *to);

/* Room for `count` elements; never NULL for 0. */
void *cluster_map_array(struct cluster_map *map, size_t count, size_t size);

/* Every rule of the format. */
bool cluster_map_is_valid_name(struct slice name);
enum error cluster_map_check(const struct cluster_map *map);

/* Checks and builds the orders by name. */
enum error cluster_map_finish(struct cluster_map *map);

#endif
