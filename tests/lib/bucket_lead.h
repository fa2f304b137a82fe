/* Makes a bucket one that this server leads and nobody else has a copy of. */
#ifndef VUG_TESTS_LIB_BUCKET_LEAD_H
#define VUG_TESTS_LIB_BUCKET_LEAD_H

#include "server/region.h"

static inline void bucket_lead_alone_for_tests(struct bucket *bucket)
{
    bucket->replica.role = REPLICA_PRIMARY;
    bucket->replica.led = bucket->replica.led == 0 ? 1 : bucket->replica.led;
    bucket->replica.in_set = true;
}

static inline void region_lead_alone_for_tests(struct region *region)
{
    for (uint32_t i = 0; i < region->bucket_count; i++)
        if (region->buckets[i].replica.role == REPLICA_NONE)
            bucket_lead_alone_for_tests(&region->buckets[i]);
}

#endif
