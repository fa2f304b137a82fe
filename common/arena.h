/* A bump arena with a hard cap: what a batch of requests needs is taken from it and dropped at
 * once. The cap bounds what one hostile message can make us allocate. */
#ifndef VUG_COMMON_ARENA_H
#define VUG_COMMON_ARENA_H

#include <protobuf-c/protobuf-c.h>

#include "common/slice.h"

struct arena_block;

struct arena {
    struct arena_block *blocks;
    size_t bytes;                /* handed out since the last reset */
    size_t bytes_max;            /* arena_alloc() returns NULL beyond this */
    ProtobufCAllocator protobuf; /* unpacks into this arena; its free does nothing */
};

void arena_init(struct arena *arena, size_t bytes_max);
void arena_fini(struct arena *arena);
void arena_reset(struct arena *arena); /* keeps one block */

/* Aligned to 16 bytes, not zeroed. NULL without memory or at the cap. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_zalloc(struct arena *arena, size_t size);
char *arena_strndup(struct arena *arena, const char *text, size_t len);

#endif
