#include "locator/region_type.h"

#include <strings.h>

#include "common/text.h"

#define SERVED(name, type, copies)                                                                 \
    {                                                                                              \
        name, NULL, type, copies                                                                   \
    }
#define KNOWN(name, nearest)                                                                       \
    {                                                                                              \
        name, nearest, CLUSTER_PARTITION, 0                                                        \
    }

/* Persistence, overflow and heap limits add to a type; without them the data is the same as long as
 * it fits into memory. A proxy holds nothing itself: in Vug every member forwards, so the region
 * alone is asked for. */
static const struct region_type types[] = {
    SERVED("PARTITION", CLUSTER_PARTITION, 0),
    SERVED("PARTITION_REDUNDANT", CLUSTER_PARTITION_REDUNDANT, 1),
    SERVED("REPLICATE", CLUSTER_REPLICATE, 0),
    KNOWN("REPLICATE_PERSISTENT", "REPLICATE"),
    KNOWN("REPLICATE_OVERFLOW", "REPLICATE"),
    KNOWN("REPLICATE_PERSISTENT_OVERFLOW", "REPLICATE"),
    KNOWN("REPLICATE_HEAP_LRU", "REPLICATE"),
    KNOWN("REPLICATE_PROXY", "REPLICATE"),
    KNOWN("PARTITION_PERSISTENT", "PARTITION"),
    KNOWN("PARTITION_REDUNDANT_PERSISTENT", "PARTITION_REDUNDANT"),
    KNOWN("PARTITION_OVERFLOW", "PARTITION"),
    KNOWN("PARTITION_REDUNDANT_OVERFLOW", "PARTITION_REDUNDANT"),
    KNOWN("PARTITION_PERSISTENT_OVERFLOW", "PARTITION"),
    KNOWN("PARTITION_REDUNDANT_PERSISTENT_OVERFLOW", "PARTITION_REDUNDANT"),
    KNOWN("PARTITION_HEAP_LRU", "PARTITION"),
    KNOWN("PARTITION_REDUNDANT_HEAP_LRU", "PARTITION_REDUNDANT"),
    KNOWN("PARTITION_PROXY", "PARTITION"),
    KNOWN("PARTITION_PROXY_REDUNDANT", "PARTITION_REDUNDANT"),
    SERVED("LOCAL", CLUSTER_LOCAL, 0),
    KNOWN("LOCAL_PERSISTENT", "LOCAL"),
    KNOWN("LOCAL_HEAP_LRU", "LOCAL"),
    KNOWN("LOCAL_OVERFLOW", "LOCAL"),
    KNOWN("LOCAL_PERSISTENT_OVERFLOW", "LOCAL"),
    KNOWN("PROXY", "PARTITION"),
    KNOWN("CACHING_PROXY", "PARTITION"),
    KNOWN("CACHING_PROXY_HEAP_LRU", "PARTITION"),
    KNOWN("CACHING_PROXY_OVERFLOW", "PARTITION"),
};

#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

const struct region_type *region_type_find(struct slice word)
{
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (strlen(types[i].name) == word.len &&
            strncasecmp(types[i].name, (const char *)word.data, word.len) == 0)
            return &types[i];
    return NULL;
}

const char *region_type_nearest(struct slice word)
{
    struct text_nearest nearest;
    text_nearest_init(&nearest, word);
    for (size_t i = 0; i < TYPE_COUNT; i++)
        text_nearest_offer(&nearest, types[i].name);
    return text_nearest_best(&nearest);
}
