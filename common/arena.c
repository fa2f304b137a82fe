#include "common/arena.h"

#include "common/error.h"
#include "common/mem.h"

enum {
    ARENA_ALIGN = 16,
    ARENA_BLOCK_BYTES = 16 * 1024,       /* the first block */
    ARENA_BLOCK_BYTES_MAX = 1024 * 1024, /* later ones double up to this */
    ARENA_KEPT_BYTES_MAX = 256 * 1024,   /* what arena_reset() may keep */
};

/* The head of the list is the block that allocations come from. */
struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t cap;
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

static void *arena_protobuf_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void arena_protobuf_free(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

void arena_init(struct arena *arena, size_t bytes_max)
{
    *arena = (struct arena){
        .bytes_max = bytes_max,
        .protobuf = {.alloc = arena_protobuf_alloc,
                     .free = arena_protobuf_free,
                     .allocator_data = arena},
    };
}

static void arena_free_blocks(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;

        mem_free(block);
        block = next;
    }
}

void arena_fini(struct arena *arena)
{
    arena_free_blocks(arena->blocks);
    arena->blocks = NULL;
    arena->bytes = 0;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *kept = NULL;
    struct arena_block **link = &arena->blocks;

    if (arena->bytes == 0)
        return;
    if (arena->blocks->next == NULL && arena->blocks->cap <= ARENA_KEPT_BYTES_MAX) {
        arena->blocks->used = 0;
        arena->bytes = 0;
        return;
    }

    /* The largest block that is worth keeping; a huge one goes back to the system. */
    for (struct arena_block **at = link; *at != NULL; at = &(*at)->next) {
        if ((*at)->cap <= ARENA_KEPT_BYTES_MAX && (kept == NULL || (*at)->cap > kept->cap)) {
            kept = *at;
            link = at;
        }
    }
    if (kept != NULL) {
        *link = kept->next;
        kept->next = NULL;
        kept->used = 0;
    }
    arena_free_blocks(arena->blocks);
    arena->blocks = kept;
    arena->bytes = 0;
}

static struct arena_block *arena_add_block(struct arena *arena, size_t size)
{
    struct arena_block *head = arena->blocks;
    size_t cap = ARENA_BLOCK_BYTES;
    struct arena_block *block;

    if (head != NULL && head->cap >= cap)
        cap = head->cap < ARENA_BLOCK_BYTES_MAX / 2 ? head->cap * 2 : ARENA_BLOCK_BYTES_MAX;
    /* A large piece gets a block of its own behind the head, whose free part stays in use. */
    bool alone = size > cap / 4;

    if (alone)
        cap = size;
    block = mem_alloc(sizeof *block + cap);
    if (block == NULL)
        return NULL;
    block->used = 0;
    block->cap = cap;
    if (alone && head != NULL) {
        block->next = head->next;
        head->next = block;
    } else {
        block->next = head;
        arena->blocks = block;
    }
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    struct arena_block *block = arena->blocks;
    size_t left = arena->bytes_max - arena->bytes;
    void *piece;

    if (size > left)
        return NULL;
    /* An empty piece is still a pointer of its own: NULL means failure. */
    size = size == 0 ? ARENA_ALIGN : (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (size > left)
        return NULL;
    if (block == NULL || block->cap - block->used < size) {
        block = arena_add_block(arena, size);
        if (block == NULL)
            return NULL;
    }
    piece = block->data + block->used;
    block->used += size;
    arena->bytes += size;
    return piece;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    void *piece = arena_alloc(arena, size);

    if (piece != NULL)
        memset(piece, 0, size);
    return piece;
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
    char *copy;

    if (len == SIZE_MAX)
        return NULL;
    copy = arena_alloc(arena, len + 1);
    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}
