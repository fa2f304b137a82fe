#include "server/cq_initial.h"

#include "common/mem.h"
#include "server/region.h"

struct cq_initial *cq_initial_new(struct bucket *bucket, const struct record *record)
{
    struct cq_initial *initial = mem_zalloc(sizeof *initial);
    if (initial == NULL)
        return NULL;
    initial->seq = record->seq;
    initial->time_ms = record->time_ms;
    bucket->starts++;
    return initial;
}

void cq_initial_free(struct bucket *bucket, struct cq_initial *initial)
{
    if (initial == NULL)
        return;
    bucket->starts -= !initial->is_gathered;
    entry_list_fini(&initial->entries);
    mem_free(initial);
}

static void take(void *arg, struct entry *entry)
{
    struct cq_initial *initial = arg;
    if (entry->seq < initial->seq && !entry_list_add(&initial->entries, entry))
        initial->failed = true;
}

/* The walk comes upon an entry twice when its line is split meanwhile; a seq is that of one entry.
 */
static void drop_doubles(struct entry_list *list)
{
    size_t end = list->first;
    for (size_t i = list->first; i < list->end; i++) {
        struct entry *entry = list->entries[i];
        if (end > list->first && list->entries[end - 1]->seq == entry->seq)
            entry_unref(entry);
        else
            list->entries[end++] = entry;
    }
    list->end = end;
}

static void finish(struct bucket *bucket, struct cq_initial *initial)
{
    struct entry_list *list = &initial->entries;
    initial->is_gathered = true;
    bucket->starts--;
    bucket_entries_sort(list->entries + list->first, entry_list_count(list));
    drop_doubles(list);
}

void cq_initial_gather(struct bucket *bucket, struct cq_initial *initial, uint32_t lines)
{
    for (; lines > 0 && !initial->is_gathered; lines--)
        if (!table_cursor_step(&bucket->table, &initial->cursor, take, initial))
            finish(bucket, initial);
}

void cq_initial_before_change(struct bucket *bucket, struct cq_initial *initial, struct entry *old)
{
    if (!initial->is_gathered && !table_cursor_passed(&bucket->table, &initial->cursor, old->hash))
        take(initial, old);
}
