/* The options of `vug cq`, shared by its two sides. */
#ifndef VUG_CLI_CQ_OPTIONS_H
#define VUG_CLI_CQ_OPTIONS_H

#include "cli/cq_print.h"

struct cq_options {
    struct option_list parameters;
    const char *start, *encoding, *resume, *name, *numeric_mode;
    int64_t limit;
    uint64_t idle_exit_ms;
    const char *input, *ddl, *key;
};

/* How results are sent and how numbers add up. */
struct cq_modes {
    enum vug_encoding encoding;
    bool flink;
};

/* A continuous query over a cluster, or over a file. */
enum exit_status cq_online(struct cli *cli, const struct cq_options *options, struct cq_modes modes,
                           struct cq_print *print);
enum exit_status cq_offline(struct cli *cli, const struct cq_options *options,
                            struct cq_modes modes, struct cq_print *print);

#endif
