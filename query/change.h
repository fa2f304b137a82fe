/* One row's change of one group: added as a whole, or undone. Private to query/. */
#ifndef VUG_QUERY_CHANGE_H
#define VUG_QUERY_CHANGE_H

#include "query/group.h"

/* How an aggregate is brought back to what it was. */
enum change_undo_kind {
    CHANGE_UNTOUCHED,
    CHANGE_SAVED,    /* its bytes were saved; whatever it has on the heap now is new */
    CHANGE_RETRACT,  /* it was on the heap already: the value is taken back */
    CHANGE_STALE,    /* the same in a bounded frame: it is made again from the frame's rows */
    CHANGE_REPLACED, /* a new accumulator takes its place at the commit */
};

struct change {
    const struct query_plan *plan;
    struct group *group;
    const struct query_row *row;
    uint8_t *saved;     /* accumulators_size bytes: saved ones, and those that replace */
    uint8_t *undo;      /* for each aggregate, an enum change_undo_kind */
    uint8_t *kept_text; /* a larger buffer for the group's kept strings; NULL if the old one does */
    size_t kept_room;
    struct query_value *frame; /* a larger ring; NULL if the old one does */
    uint32_t frame_room;
    struct query_value *framed; /* frame_count values: the row's, strings copied */
    bool has_framed;
    bool active;
};

enum error change_init(struct change *change, const struct query_plan *plan);
void change_fini(struct change *change);

/* Brings the group up to date and reserves what the commit needs. After any failure: change_undo().
 */
enum error change_begin(struct change *change, struct group *group, const struct query_row *row);
/* Adds the row to the accumulators, and takes the row back that leaves a bounded frame. */
enum error change_add(struct change *change);
/* The aggregates' results with the row; strings live until the commit of a later change. */
enum error change_read(struct change *change, struct query_value *aggregates);
void change_undo(struct change *change);
void change_commit(struct change *change);

/* MIN, MAX, COUNT, and sums in exact mode depend on the rows of a bounded frame alone, not on what
 * was in it before. */
bool change_is_frame_only(const struct aggregate_spec *spec);

/* Makes stale accumulators again from the frame. ERROR_MEMORY leaves them stale. */
enum error change_refresh(const struct query_plan *plan, struct group *group);

/* Equal for equal accumulators and frames. */
uint64_t change_hash(const struct query_plan *plan, struct group *group, uint64_t seed);

#endif
