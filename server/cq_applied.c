/* How far the rows of each other bucket have been applied to the groups of this one. */
#include "common/mem.h"
#include "server/cq.h"

struct cq_applied cq_applied_locked(const struct cq_bucket *cqb, uint32_t bucket)
{
    uint32_t low = 0, high = cqb->applied_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (cqb->applied[middle].bucket < bucket)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < cqb->applied_count && cqb->applied[low].bucket == bucket)
        return cqb->applied[low];
    return (struct cq_applied){.bucket = bucket};
}

enum error cq_applied_note_locked(struct cq_bucket *cqb, const struct cq_applied *row, bool *is_new)
{
    uint32_t at = 0;
    while (at < cqb->applied_count && cqb->applied[at].bucket < row->bucket)
        at++;
    bool known = at < cqb->applied_count && cqb->applied[at].bucket == row->bucket;
    struct cq_applied old = known ? cqb->applied[at] : (struct cq_applied){0};
    *is_new = row->generation > old.generation ||
              (row->generation == old.generation && ring_before(old.position, row->position));
    if (!*is_new)
        return OK;
    if (!known && cqb->applied_count == cqb->applied_cap) {
        uint32_t cap = cqb->applied_cap == 0 ? 8 : cqb->applied_cap * 2;
        struct cq_applied *bigger = mem_realloc(cqb->applied, cap * sizeof *bigger);
        if (bigger == NULL)
            return ERROR_MEMORY;
        cqb->applied = bigger;
        cqb->applied_cap = cap;
    }
    if (!known) {
        memmove(cqb->applied + at + 1, cqb->applied + at,
                (cqb->applied_count - at) * sizeof *cqb->applied);
        cqb->applied_count++;
    }
    cqb->applied[at] = *row;
    return OK;
}
