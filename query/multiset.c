#include "query/multiset.h"

#include "common/mem.h"

struct multiset_node {
    struct query_value value;
    struct multiset_node *child[2]; /* smaller, larger */
    uint64_t count;
    int height;
    uint8_t text[]; /* of the value */
};

/* An AVL tree of 2^64 nodes is less than 93 high; ours are far from that. */
enum { HEIGHT_MAX = 96 };

void multiset_init(struct multiset *set)
{
    *set = (struct multiset){0};
}

static bool has_text(const struct query_value *value)
{
    return value->kind == QUERY_TYPE_STRING || value->kind == QUERY_TYPE_BYTES;
}

static size_t node_bytes(const struct query_value *value)
{
    return sizeof(struct multiset_node) + (has_text(value) ? value->text.len : 0);
}

static void free_nodes(struct multiset_node *node)
{
    if (node != NULL) {
        free_nodes(node->child[0]);
        free_nodes(node->child[1]);
        mem_free(node);
    }
}

void multiset_fini(struct multiset *set)
{
    free_nodes(set->root);
    multiset_init(set);
}

static int height(const struct multiset_node *node)
{
    return node == NULL ? 0 : node->height;
}

static void update_height(struct multiset_node *node)
{
    int left = height(node->child[0]), right = height(node->child[1]);
    node->height = 1 + (left > right ? left : right);
}

/* Lifts the child on `side` above its parent. */
static struct multiset_node *rotate(struct multiset_node *node, int side)
{
    struct multiset_node *child = node->child[side];
    node->child[side] = child->child[!side];
    child->child[!side] = node;
    update_height(node);
    update_height(child);
    return child;
}

static struct multiset_node *balance(struct multiset_node *node)
{
    int lean = height(node->child[1]) - height(node->child[0]);
    if (lean >= -1 && lean <= 1) {
        update_height(node);
        return node;
    }
    int side = lean > 0;
    struct multiset_node *child = node->child[side];
    if (height(child->child[!side]) > height(child->child[side])) {
        node->child[side] = rotate(child, !side);
    }
    return rotate(node, side);
}

/* The way from the root to a value: the links that were followed, the last of which leads to it or
 * to where it belongs. */
struct path {
    struct multiset_node **links[HEIGHT_MAX];
    int len;
};

static void path_extend(struct path *path, struct multiset_node **link)
{
    INVARIANT(path->len < HEIGHT_MAX);
    path->links[path->len++] = link;
}

static struct multiset_node **find(struct multiset *set, const struct query_value *value,
                                   struct path *path)
{
    struct multiset_node **link = &set->root;
    path->len = 0;
    for (;;) {
        path_extend(path, link);
        int order = *link == NULL ? 0 : query_value_compare_total(value, &(*link)->value);
        if (order == 0) {
            return link;
        }
        link = &(*link)->child[order > 0];
    }
}

static void balance_path(struct path *path)
{
    for (int i = path->len - 1; i >= 0; i--) {
        if (*path->links[i] != NULL) {
            *path->links[i] = balance(*path->links[i]);
        }
    }
}

enum error multiset_add(struct multiset *set, const struct query_value *value)
{
    struct path path;
    struct multiset_node **link = find(set, value, &path);
    if (*link != NULL) {
        (*link)->count++;
        return OK;
    }
    struct multiset_node *node = mem_alloc(node_bytes(value));
    if (node == NULL) {
        return ERROR_MEMORY;
    }
    *node = (struct multiset_node){.value = *value, .count = 1, .height = 1};
    if (has_text(value)) {
        if (value->text.len > 0) {
            memcpy(node->text, value->text.data, value->text.len);
        }
        node->value.text.data = node->text;
    }
    set->bytes += node_bytes(value);
    *link = node;
    balance_path(&path);
    return OK;
}

void multiset_remove(struct multiset *set, const struct query_value *value)
{
    struct path path;
    struct multiset_node **link = find(set, value, &path);
    struct multiset_node *node = *link;
    PRE(node != NULL);
    if (--node->count > 0) {
        return;
    }
    if (node->child[0] == NULL || node->child[1] == NULL) {
        *link = node->child[node->child[0] == NULL];
    } else {
        /* The next larger node has no smaller child: it moves here. */
        int place = path.len;
        struct multiset_node **next = &node->child[1];
        path_extend(&path, next);
        while ((*next)->child[0] != NULL) {
            next = &(*next)->child[0];
            path_extend(&path, next);
        }
        struct multiset_node *heir = *next;
        *next = heir->child[1];
        heir->child[0] = node->child[0];
        heir->child[1] = node->child[1];
        *link = heir;
        path.links[place] = &heir->child[1];
    }
    set->bytes -= node_bytes(&node->value);
    mem_free(node);
    balance_path(&path);
}

static const struct query_value *end(const struct multiset *set, int side)
{
    const struct multiset_node *node = set->root;
    while (node != NULL && node->child[side] != NULL) {
        node = node->child[side];
    }
    return node == NULL ? NULL : &node->value;
}

const struct query_value *multiset_min(const struct multiset *set)
{
    return end(set, 0);
}

const struct query_value *multiset_max(const struct multiset *set)
{
    return end(set, 1);
}

static uint64_t hash_in_order(const struct multiset_node *node, uint64_t seed)
{
    if (node == NULL) {
        return seed;
    }
    seed = hash_in_order(node->child[0], seed);
    struct query_value count = {.kind = QUERY_TYPE_BIGINT, .integer = (int64_t)node->count};
    seed = query_value_hash(&count, query_value_hash(&node->value, seed));
    return hash_in_order(node->child[1], seed);
}

uint64_t multiset_hash(const struct multiset *set, uint64_t seed)
{
    return hash_in_order(set->root, seed);
}

/* ---- Bytes ---- */

static void pack_word(uint64_t word, struct buf *out)
{
    struct query_value value = {.kind = QUERY_TYPE_BIGINT, .integer = (int64_t)word};
    query_value_pack(&value, out);
}

static bool take_word(struct slice *rest, uint64_t *word)
{
    struct query_value value;
    if (query_value_unpack(rest, &value) != OK || value.kind != QUERY_TYPE_BIGINT) {
        return false;
    }
    *word = (uint64_t)value.integer;
    return true;
}

static uint64_t node_count(const struct multiset_node *node)
{
    return node == NULL ? 0 : 1 + node_count(node->child[0]) + node_count(node->child[1]);
}

static void pack_in_order(const struct multiset_node *node, struct buf *out)
{
    if (node != NULL) {
        pack_in_order(node->child[0], out);
        query_value_pack(&node->value, out);
        pack_word(node->count, out);
        pack_in_order(node->child[1], out);
    }
}

void multiset_pack(const struct multiset *set, struct buf *out)
{
    pack_word(node_count(set->root), out);
    pack_in_order(set->root, out);
}

static enum error unpack_one(struct slice *rest, enum query_type_kind kind, struct multiset *set)
{
    struct query_value value;
    uint64_t count;
    if (query_value_unpack(rest, &value) != OK || value.kind != kind || !take_word(rest, &count) ||
        count == 0) {
        return ERROR_MALFORMED;
    }
    const struct query_value *last = multiset_max(set);
    if (last != NULL && query_value_compare_total(last, &value) >= 0) {
        return ERROR_MALFORMED;
    }
    enum error error = multiset_add(set, &value);
    if (error == OK) {
        struct path path;
        (*find(set, &value, &path))->count = count;
    }
    return error;
}

enum error multiset_unpack(struct slice *rest, enum query_type_kind kind, struct multiset *set)
{
    uint64_t count;
    multiset_init(set);
    /* Each takes two bytes at least. */
    enum error error = take_word(rest, &count) && count <= rest->len / 2 ? OK : ERROR_MALFORMED;
    for (uint64_t i = 0; error == OK && i < count; i++) {
        error = unpack_one(rest, kind, set);
    }
    if (error != OK) {
        multiset_fini(set);
    }
    return error;
}
