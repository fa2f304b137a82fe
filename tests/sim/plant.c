/* Which fault is planted: the one variable of the simulation's build of the product. */
#include "tests/sim/scenario.h"

bool plant_is(enum plant plant); /* declared in common/plant.h where VUG_PLANTS is set */

static enum plant planted;

void plant_set(enum plant plant)
{
    planted = plant;
}

bool plant_is(enum plant plant)
{
    return planted == plant;
}

const char *plant_text(enum plant plant)
{
    static const char *const texts[PLANT_COUNT] = {
        [PLANT_NONE] = "none",
        [PLANT_NO_WAIT_FOR_PROPOSED] = "no-wait-for-proposed",
        [PLANT_ANSWER_EARLY] = "answer-early",
        [PLANT_READ_IGNORES_REMOVAL] = "read-ignores-removal",
        [PLANT_REPEAT_EARLY] = "repeat-early",
        [PLANT_ANSWER_WITHOUT_SILENT] = "answer-without-silent",
        [PLANT_CLOCK_BEFORE_READ] = "clock-before-read",
        [PLANT_COPY_READS_UNCOMMITTED] = "copy-reads-uncommitted",
        [PLANT_REMOVE_WITHOUT_WAIT] = "remove-without-wait",
        [PLANT_NO_SEAL] = "no-seal",
        [PLANT_SEAL_WITHOUT_PROMISE] = "seal-without-promise",
        [PLANT_LEASE_OLD_MAP] = "lease-old-map",
        [PLANT_GRANT_SEALED] = "grant-sealed",
        [PLANT_ONE_LEASE] = "one-lease",
        [PLANT_PROPOSE_UNCHECKED] = "propose-unchecked",
        [PLANT_IMAGE_OLD_MAP] = "image-old-map",
        [PLANT_NO_JOINER_LEASE] = "no-joiner-lease",
        [PLANT_SWAP_WITHOUT_WAIT] = "swap-without-wait",
        [PLANT_SEALED_TERM_STUCK] = "sealed-term-stuck",
        [PLANT_SUFFIX_SERVED] = "suffix-served",
        [PLANT_NO_SET_VERSION] = "no-set-version",
        [PLANT_TOKEN_GENERATION] = "token-generation",
        [PLANT_RETRY_DISORDER] = "retry-disorder",
        [PLANT_RESULT_DROPPED] = "result-dropped",
        [PLANT_IMAGE_WITHOUT_WRITERS] = "image-without-writers",
        [PLANT_IMAGE_WITHOUT_RING] = "image-without-ring",
        [PLANT_IMAGE_WITHOUT_REMOVALS] = "image-without-removals",
        [PLANT_REGION_ID_REUSED] = "region-id-reused",
        [PLANT_WALL_CLOCK] = "wall-clock",
        [PLANT_SEEDED_ORDER] = "seeded-order",
        [PLANT_TICK_LOCAL] = "tick-local",
    };
    return texts[plant];
}
