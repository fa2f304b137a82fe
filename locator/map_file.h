/* The cluster map as one file: DIR/cluster-map, under an exclusive lock on DIR/lock.
 *
 *   magic 8 | format version u32 | reserved u32 | epoch u64 | length u64 | XXH3-128 of all else 16
 * | packed map
 *
 * Numbers are little-endian. The file is written beside its place, synchronised, renamed, and then
 * the directory is synchronised: after a crash there is the old map or the new one, whole. A file
 * that is not exactly that is an error with a name and a way out, never an empty map: a locator
 * that forgot its cluster would make a second one.
 *
 * All calls block; map_store_file.c makes them on a thread of its own. Not thread-safe. */
#ifndef VUG_LOCATOR_MAP_FILE_H
#define VUG_LOCATOR_MAP_FILE_H

#include <sys/types.h>

#include "common/buf.h"
#include "locator/map_store.h"

#define MAP_FILE_HEADER_BYTES 48u
#define MAP_FILE_VERSION      1u

/* The system's calls, with errno as they leave it, so that a test can fail each of them. */
struct map_file_ops {
    int (*make_directory)(void *arg, const char *path, mode_t mode);
    int (*open)(void *arg, const char *path, int flags, mode_t mode);
    int (*lock)(void *arg, int fd); /* exclusive, without waiting */
    off_t (*size)(void *arg, int fd);
    ssize_t (*read)(void *arg, int fd, void *data, size_t len);
    ssize_t (*write)(void *arg, int fd, const void *data, size_t len);
    int (*sync)(void *arg, int fd);
    int (*rename)(void *arg, const char *from, const char *to);
    int (*close)(void *arg, int fd);
};

/* The real ones; their `arg` is not used. */
extern const struct map_file_ops map_file_system;

struct map_file;

/* Makes the directory if it is missing (0700, parents too), takes the lock, and tries that the
 * directory can be written. `ops` and `arg` must outlive the file. ERROR_LOCKED, ERROR_IO,
 * ERROR_MEMORY fill `problem`. */
enum error map_file_open(const char *directory, const struct map_file_ops *ops, void *arg,
                         struct map_file **file, struct map_problem *problem);
void map_file_close(struct map_file *file); /* gives the lock back */

/* Appends the packed map to `bytes`. *epoch is 0 and nothing is appended when there is no file.
 * ERROR_DAMAGED (torn, changed, foreign), ERROR_UNSUPPORTED (a newer format), ERROR_LIMIT (too
 * long), ERROR_IO, ERROR_MEMORY. */
enum error map_file_load(struct map_file *file, struct buf *bytes, uint64_t *epoch,
                         struct map_problem *problem);

/* Replaces the map. ERROR_CONFLICT unless the last epoch that was loaded or stored is
 * `expected_epoch`. ERROR_IO leaves the old map in force; only when the very last step fails (the
 * directory's synchronisation) may a crash still bring up the new one, and the problem says so. */
enum error map_file_store(struct map_file *file, uint64_t expected_epoch, uint64_t epoch,
                          struct slice bytes, struct map_problem *problem);

#endif
