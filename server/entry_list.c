#include "server/entry_list.h"

#include "common/mem.h"

bool entry_list_add(struct entry_list *list, struct entry *entry)
{
    if (list->first == list->end)
        list->first = list->end = 0;
    if (list->end == list->cap) {
        size_t cap = list->cap == 0 ? 64 : list->cap * 2;
        struct entry **entries = mem_realloc(list->entries, cap * sizeof(struct entry *));
        if (entries == NULL)
            return false;
        list->entries = entries;
        list->cap = cap;
    }
    list->entries[list->end++] = entry_ref(entry);
    list->bytes += sizeof *entry + entry->key_len + entry->value_len;
    return true;
}

struct entry *entry_list_take(struct entry_list *list)
{
    PRE(entry_list_count(list) > 0);
    struct entry *entry = list->entries[list->first++];
    list->bytes -= sizeof *entry + entry->key_len + entry->value_len;
    return entry;
}

void entry_list_fini(struct entry_list *list)
{
    while (entry_list_count(list) > 0)
        entry_unref(entry_list_take(list));
    mem_free(list->entries);
    *list = (struct entry_list){0};
}
