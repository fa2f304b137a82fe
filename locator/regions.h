/* Regions as requests describe them: names, types, numbers; every refusal says what can be done
 * instead. */
#ifndef VUG_LOCATOR_REGIONS_H
#define VUG_LOCATOR_REGIONS_H

#include "locator/locator_impl.h"
#include "protocol/admin.pb-c.h"

#define REGION_BUCKETS_DEFAULT 113u
#define REGION_COPIES_MAX      15u

/* Without the leading slash that Geode's users write. */
struct slice region_name(struct slice name);

/* Letters, digits, underscore and minus; not two underscores in front, which names of the system
 * have. False fills `failure`. */
bool region_check_name(struct slice name, struct failure *failure);

/* Reads the request into the region of a map; its name points into the request. False fills
 * `failure`. */
bool region_of_request(const Pb__RegionCreateRequest *request, struct cluster_region *region,
                       struct failure *failure);

bool region_is_same(const struct cluster_region *a,
                    const struct cluster_region *b); /* but for id and buckets */

/* "no region X; did you mean Y?" */
void region_fail_unknown(const struct cluster_map *map, struct slice name, struct failure *failure);

#endif
