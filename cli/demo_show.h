/* What the demo shows: the cluster that it made, the averages as they change, the last ones. */
#ifndef VUG_CLI_DEMO_SHOW_H
#define VUG_CLI_DEMO_SHOW_H

#include "cli/demo.h"
#include "cli/demo_tally.h"

/* On a terminal: over the lines that were drawn before, whose number it keeps in *lines. */
void demo_draw(struct cli *cli, const struct tally *tally, uint64_t acknowledged, unsigned *lines);
/* Everywhere else: once, at the end. */
void demo_print(struct cli *cli, const struct tally *tally);

const char *demo_region_type(const struct demo_cluster *cluster);
void demo_introduce(struct cli *cli, const struct demo_cluster *cluster, const char *path,
                    const char *query);
/* What to try while the cluster stays. */
void demo_invite(struct cli *cli, const struct demo_cluster *cluster);

#endif
