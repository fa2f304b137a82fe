/* Whether what clients saw of one key could have come from one place where each operation happened
 * at once, at a moment between its call and its answer: linearizability (Herlihy and Wing, 1990).
 *
 * A search by Wing and Gong (1993) that remembers the configurations it has tried (Lowe, 2017):
 * exact, and fast while few operations run at the same time. */
#ifndef VUG_TESTS_SIM_LINEAR_H
#define VUG_TESTS_SIM_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum linear_kind {
    LINEAR_PUT,
    LINEAR_GET,
    LINEAR_REMOVE, /* tells nothing of what was there */
    LINEAR_PUT_IF_ABSENT,
};

#define LINEAR_OPEN UINT64_MAX /* an answer that never came */

/* Values are numbers, each written once; 0 is absence. `called` and `answered` come from one
 * counter that grows with each of these events. */
struct linear_op {
    enum linear_kind kind;
    /* Changes of one session happen in the order of their calls, and a read not before those that
     * were called before it; 0: none. */
    uint32_t session;
    uint64_t called, answered;
    uint64_t value; /* PUT, PUT_IF_ABSENT: that it writes */
    uint64_t seen;  /* answered GET, PUT_IF_ABSENT: that was there */
};

enum linear_verdict {
    LINEAR_OK,
    LINEAR_BROKEN,
    LINEAR_UNDECIDED, /* more configurations than `budget` */
};

/* The key is absent at first. An open operation happened at some time after its call, or never.
 * Reorders `ops`. *stuck, if asked for, is the operation at which the search got no further than
 * anywhere else. */
enum linear_verdict linear_check(struct linear_op *ops, size_t count, size_t budget,
                                 struct linear_op *stuck);

#endif
