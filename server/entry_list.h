/* A list of references to entries, added at the end and taken from the front: what an image has
 * still to send. */
#ifndef VUG_SERVER_ENTRY_LIST_H
#define VUG_SERVER_ENTRY_LIST_H

#include "server/table.h"

struct entry_list { /* starts zeroed */
    struct entry **entries;
    size_t first, end, cap;
    uint64_t bytes; /* of the entries, headers included */
};

static inline size_t entry_list_count(const struct entry_list *list)
{
    return list->end - list->first;
}

/* Takes a reference of its own. False without memory: the list is as it was. */
bool entry_list_add(struct entry_list *list, struct entry *entry);
/* The oldest, whose reference goes to the caller. There must be one. */
struct entry *entry_list_take(struct entry_list *list);
void entry_list_fini(struct entry_list *list);

#endif
