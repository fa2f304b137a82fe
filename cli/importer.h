/* Rows of a CSV file become writes, one each, in file order: the engine of `vug import` and of the
 * demo.
 *
 *   input thread --chunks--> csv --row--> document --> vug_writer --answers--> counted
 *        ^ the next chunk is read when this one is used up; a full window or --rate holds the rows
 * back */
#ifndef VUG_CLI_IMPORTER_H
#define VUG_CLI_IMPORTER_H

#include "cli/row.h"
#include "client/vug.h"

struct importer;

struct importer_options {
    const char *region;
    const char *name; /* of the file, for people */
    int fd;
    const char *key; /* the column whose text is the region key */
    uint64_t rate;   /* rows a second; 0: as fast as possible */
};

struct importer_events {
    /* A row that was not written, or, with `problem` NULL, was: `line` is where it begins. */
    void (*on_row)(void *arg, uint64_t line, const char *problem);
    /* A line for people: the server was lost, or is back. */
    void (*on_note)(void *arg, const char *text);
    /* A row is about to be written; NULL allowed. */
    void (*on_read)(void *arg, const struct row_header *header, const struct csv *csv);
    /* Everything is answered, or it went wrong as a whole: `error`, with `problem` of the file when
     * error->error is ERROR_INVALID. That is also the error when the server was restarted in the
     * meantime, so that rows that it had acknowledged are gone: the text says all. */
    void (*on_end)(void *arg, const struct vug_error *error);
};

struct importer_counts {
    uint64_t rows, written, bad, bytes; /* rows: taken by the writer; bytes: of the file, read */
};

/* Starts. A server that is lost is waited for as long as the target's timeout_ms. Behind a locator
 * each new connection is compared with the first one's incarnation; a straight target's server
 * cannot be. ERROR_MEMORY, ERROR_IO. */
enum error importer_new(struct loop *loop, struct net *net, const struct vug_target *target,
                        const struct importer_options *options,
                        const struct importer_events *events, void *arg,
                        struct importer **importer);
void importer_free(struct importer *importer); /* not from inside a callback */
struct importer_counts importer_counts(const struct importer *importer);

#endif
