#include "locator/map_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "common/mem.h"

static const uint8_t magic[8] = {'V', 'U', 'G', 'M', 'A', 'P', '\r', '\n'};
#define CHECKSUM_BYTES 16u
#define CHECKSUM_AT    (MAP_FILE_HEADER_BYTES - CHECKSUM_BYTES)

struct map_file {
    const struct map_file_ops *ops;
    void *arg;
    char *directory, *path, *path_new, *path_lock;
    int lock_fd;
    uint64_t epoch; /* last loaded or stored */
};

/* ---- The system's calls ---- */

static int system_make_directory(void *arg, const char *path, mode_t mode)
{
    (void)arg;
    return mkdir(path, mode);
}

static int system_open(void *arg, const char *path, int flags, mode_t mode)
{
    (void)arg;
    return open(path, flags | O_CLOEXEC, mode);
}

static int system_lock(void *arg, int fd)
{
    (void)arg;
    return flock(fd, LOCK_EX | LOCK_NB);
}

static off_t system_size(void *arg, int fd)
{
    (void)arg;
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_size : -1;
}

static ssize_t system_read(void *arg, int fd, void *data, size_t len)
{
    (void)arg;
    return read(fd, data, len);
}

static ssize_t system_write(void *arg, int fd, const void *data, size_t len)
{
    (void)arg;
    return write(fd, data, len);
}

static int system_sync(void *arg, int fd)
{
    (void)arg;
    return fsync(fd);
}

static int system_rename(void *arg, const char *from, const char *to)
{
    (void)arg;
    return rename(from, to);
}

static int system_close(void *arg, int fd)
{
    (void)arg;
    return close(fd);
}

const struct map_file_ops map_file_system = {
    .make_directory = system_make_directory,
    .open = system_open,
    .lock = system_lock,
    .size = system_size,
    .read = system_read,
    .write = system_write,
    .sync = system_sync,
    .rename = system_rename,
    .close = system_close,
};

/* ---- Small parts ---- */

void map_problem_set(struct map_problem *problem, enum error error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    problem->error = error;
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
}

static void put_number(uint8_t *out, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(number >> (8 * i));
}

static uint64_t get_number(const uint8_t *in, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number |= (uint64_t)in[i] << (8 * i);
    return number;
}

/* Over the map, seeded with the hash of the header before the checksum, so that every byte of the
 * file counts. */
static void checksum(const uint8_t header[MAP_FILE_HEADER_BYTES], struct slice map,
                     uint8_t out[CHECKSUM_BYTES])
{
    XXH64_hash_t seed = XXH3_64bits(header, CHECKSUM_AT);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(map.data, map.len, seed));
    memcpy(out, canonical.digest, CHECKSUM_BYTES);
}

static char *join_path(const char *directory, const char *name)
{
    struct buf path;
    buf_init(&path);
    buf_printf(&path, "%s/%s", directory, name);
    char *joined = path.failed ? NULL : mem_strndup((const char *)path.data, path.len);
    buf_fini(&path);
    return joined;
}

static enum error fail_memory(struct map_problem *problem)
{
    map_problem_set(problem, ERROR_MEMORY, "There is not enough memory for the cluster map.");
    return problem->error;
}

static enum error fail_directory(struct map_problem *problem, const char *directory, int number)
{
    map_problem_set(problem, ERROR_IO,
                    "The data directory %s cannot be used: %s. The locator keeps the cluster map "
                    "there. Make it "
                    "writable for user id %u, or choose another with --data-dir.",
                    directory, strerror(number), (unsigned)geteuid());
    return problem->error;
}

static enum error fail_damaged(struct map_problem *problem, const struct map_file *file,
                               const char *what)
{
    map_problem_set(problem, ERROR_DAMAGED,
                    "The cluster map %s is damaged: %s. The locator does not start without it, "
                    "because it would make "
                    "a second cluster. Restore the file from a copy; or move it away to begin an "
                    "empty cluster, and "
                    "restart the servers, which otherwise refuse the new one.",
                    file->path, what);
    return problem->error;
}

static enum error sync_directory(struct map_file *file, const char *path)
{
    int fd = file->ops->open(file->arg, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return ERROR_IO;
    int result = file->ops->sync(file->arg, fd);
    int number = errno;
    file->ops->close(file->arg, fd);
    errno = number;
    return result == 0 ? OK : ERROR_IO;
}

/* ---- Open ---- */

/* Makes one directory and its entry in the one above durable; OK if it is there. */
static enum error make_one_directory(struct map_file *file, const char *path)
{
    if (file->ops->make_directory(file->arg, path, 0700) != 0)
        return errno == EEXIST ? OK : ERROR_IO;
    const char *slash = strrchr(path, '/');
    char *above = slash == NULL   ? mem_strndup(".", 1)
                  : slash == path ? mem_strndup("/", 1)
                                  : mem_strndup(path, (size_t)(slash - path));
    if (above == NULL)
        return ERROR_MEMORY;
    enum error error = sync_directory(file, above);
    int number = errno;
    mem_free(above);
    errno = number;
    return error;
}

/* What is there already needs no permission above it, so the whole path is tried first. */
static enum error make_directories(struct map_file *file)
{
    enum error error = make_one_directory(file, file->directory);
    if (error != ERROR_IO || errno != ENOENT)
        return error;
    char *path = mem_strndup(file->directory, strlen(file->directory));
    if (path == NULL)
        return ERROR_MEMORY;
    error = OK;
    for (char *slash = strchr(path + 1, '/'); slash != NULL && error == OK;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        error = make_one_directory(file, path);
        *slash = '/';
    }
    int number = errno;
    mem_free(path);
    errno = number;
    return error == OK ? make_one_directory(file, file->directory) : error;
}

static enum error take_lock(struct map_file *file, struct map_problem *problem)
{
    file->lock_fd = file->ops->open(file->arg, file->path_lock, O_RDWR | O_CREAT, 0600);
    if (file->lock_fd < 0)
        return fail_directory(problem, file->directory, errno);
    if (file->ops->lock(file->arg, file->lock_fd) == 0)
        return OK;
    if (errno != EWOULDBLOCK)
        return fail_directory(problem, file->directory, errno);
    map_problem_set(problem, ERROR_LOCKED,
                    "The data directory %s is in use: another locator holds the lock on %s. Stop "
                    "that one, or give "
                    "this one a directory of its own with --data-dir.",
                    file->directory, file->path_lock);
    return problem->error;
}

/* Better to learn at the start than at the first change that the directory is read-only. */
static enum error try_writing(struct map_file *file, struct map_problem *problem)
{
    int fd = file->ops->open(file->arg, file->path_new, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || file->ops->close(file->arg, fd) != 0)
        return fail_directory(problem, file->directory, errno);
    return OK;
}

enum error map_file_open(const char *directory, const struct map_file_ops *ops, void *arg,
                         struct map_file **out, struct map_problem *problem)
{
    enum error error = ERROR_MEMORY;
    struct map_file *file = mem_zalloc(sizeof(*file));
    if (file == NULL)
        return fail_memory(problem);
    file->ops = ops;
    file->arg = arg;
    file->lock_fd = -1;
    size_t len = strlen(directory);
    while (len > 1 && directory[len - 1] == '/')
        len--;
    file->directory = mem_strndup(directory, len);
    if (file->directory != NULL) {
        file->path = join_path(file->directory, "cluster-map");
        file->path_new = join_path(file->directory, "cluster-map.new");
        file->path_lock = join_path(file->directory, "lock");
    }
    if (file->path == NULL || file->path_new == NULL || file->path_lock == NULL) {
        fail_memory(problem);
        goto err_after_file;
    }
    error = make_directories(file);
    if (error == ERROR_MEMORY)
        fail_memory(problem);
    else if (error != OK)
        fail_directory(problem, file->directory, errno);
    if (error == OK)
        error = take_lock(file, problem);
    if (error == OK)
        error = try_writing(file, problem);
    if (error != OK)
        goto err_after_file;
    *out = file;
    return OK;

err_after_file:
    map_file_close(file);
    return error;
}

void map_file_close(struct map_file *file)
{
    if (file->lock_fd >= 0)
        file->ops->close(file->arg, file->lock_fd);
    mem_free(file->directory);
    mem_free(file->path);
    mem_free(file->path_new);
    mem_free(file->path_lock);
    mem_free(file);
}

/* ---- Load ---- */

static enum error fail_read(struct map_problem *problem, const struct map_file *file, int number)
{
    map_problem_set(problem, ERROR_IO,
                    "The cluster map %s cannot be read: %s. Check the disk and the file's "
                    "permissions, then start the "
                    "locator again.",
                    file->path, strerror(number));
    return problem->error;
}

static enum error read_all(struct map_file *file, int fd, uint8_t *data, size_t len,
                           struct map_problem *problem)
{
    size_t got = 0;
    while (got < len) {
        ssize_t part = file->ops->read(file->arg, fd, data + got, len - got);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return fail_read(problem, file, errno);
        if (part == 0)
            return fail_damaged(problem, file, "it became shorter while it was read");
        got += (size_t)part;
    }
    return OK;
}

/* Checks what stands before the map. *len is the map's length. */
static enum error check_header(const struct map_file *file, const uint8_t *header, size_t file_len,
                               size_t *len, struct map_problem *problem)
{
    if (file_len < MAP_FILE_HEADER_BYTES || memcmp(header, magic, sizeof(magic)) != 0)
        return fail_damaged(problem, file,
                            file_len == 0 ? "it is empty" : "it does not begin like a cluster map");
    uint64_t version = get_number(header + 8, 4);
    if (version > MAP_FILE_VERSION) {
        map_problem_set(
            problem, ERROR_UNSUPPORTED,
            "The cluster map %s has format version %" PRIu64
            "; this vug reads up to version %u. A newer "
            "vug wrote it, or the file is damaged. Start the locator with that newer version.",
            file->path, version, MAP_FILE_VERSION);
        return problem->error;
    }
    if (version == 0 || get_number(header + 12, 4) != 0)
        return fail_damaged(problem, file, "its header makes no sense");
    char what[128];
    uint64_t announced = get_number(header + 24, 8);
    if (announced != file_len - MAP_FILE_HEADER_BYTES) {
        snprintf(what, sizeof(what), "it holds %zu bytes of a map of %" PRIu64,
                 file_len - MAP_FILE_HEADER_BYTES, announced);
        return fail_damaged(problem, file, what);
    }
    if (announced == 0)
        return fail_damaged(problem, file, "it holds no map");
    *len = (size_t)announced;
    return OK;
}

static enum error load_open(struct map_file *file, int fd, struct buf *bytes, uint64_t *epoch,
                            struct map_problem *problem)
{
    off_t size = file->ops->size(file->arg, fd);
    if (size < 0)
        return fail_read(problem, file, errno);
    if ((uint64_t)size > LIMIT_MAP_BYTES + MAP_FILE_HEADER_BYTES) {
        map_problem_set(problem, ERROR_LIMIT,
                        "The cluster map %s is %" PRIu64
                        " bytes long; more than %u cannot be. It is no cluster map, or "
                        "it is damaged. Restore the file from a copy.",
                        file->path, (uint64_t)size, LIMIT_MAP_BYTES);
        return problem->error;
    }
    uint8_t header[MAP_FILE_HEADER_BYTES] = {0};
    size_t head_len = (size_t)size < sizeof(header) ? (size_t)size : sizeof(header);
    size_t len = 0;
    enum error error = read_all(file, fd, header, head_len, problem);
    if (error == OK)
        error = check_header(file, header, (size_t)size, &len, problem);
    if (error != OK)
        return error;
    size_t start = bytes->len;
    uint8_t *map = buf_reserve(bytes, len);
    if (map == NULL)
        return fail_memory(problem);
    error = read_all(file, fd, map, len, problem);
    if (error != OK)
        return error;
    uint8_t expected[CHECKSUM_BYTES];
    checksum(header, slice_of(map, len), expected);
    if (memcmp(expected, header + CHECKSUM_AT, CHECKSUM_BYTES) != 0)
        return fail_damaged(problem, file, "its checksum does not match its content");
    if (get_number(header + 16, 8) == 0)
        return fail_damaged(problem, file, "it has no epoch");
    bytes->len = start + len;
    *epoch = get_number(header + 16, 8);
    return OK;
}

enum error map_file_load(struct map_file *file, struct buf *bytes, uint64_t *epoch,
                         struct map_problem *problem)
{
    int fd = file->ops->open(file->arg, file->path, O_RDONLY, 0);
    if (fd < 0 && errno == ENOENT) {
        file->epoch = *epoch = 0;
        return OK;
    }
    if (fd < 0)
        return fail_read(problem, file, errno);
    enum error error = load_open(file, fd, bytes, epoch, problem);
    file->ops->close(file->arg, fd);
    if (error == OK)
        file->epoch = *epoch;
    return error;
}

/* ---- Store ---- */

static enum error write_all(struct map_file *file, int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t part = file->ops->write(file->arg, fd, data, len);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return ERROR_IO;
        if (part == 0) {
            errno = ENOSPC;
            return ERROR_IO;
        }
        data += part;
        len -= (size_t)part;
    }
    return OK;
}

/* Writes the new file beside the old one, durable. errno says why it failed. */
static enum error write_new(struct map_file *file, const uint8_t *header, struct slice bytes)
{
    int fd = file->ops->open(file->arg, file->path_new, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return ERROR_IO;
    enum error error = write_all(file, fd, header, MAP_FILE_HEADER_BYTES);
    if (error == OK)
        error = write_all(file, fd, bytes.data, bytes.len);
    if (error == OK && file->ops->sync(file->arg, fd) != 0)
        error = ERROR_IO;
    int number = errno;
    if (file->ops->close(file->arg, fd) != 0 && error == OK)
        return ERROR_IO;
    errno = number;
    return error;
}

enum error map_file_store(struct map_file *file, uint64_t expected_epoch, uint64_t epoch,
                          struct slice bytes, struct map_problem *problem)
{
    if (file->epoch != expected_epoch) {
        map_problem_set(problem, ERROR_CONFLICT,
                        "The cluster map has epoch %" PRIu64 ", not %" PRIu64
                        ": it was changed in the meantime.",
                        file->epoch, expected_epoch);
        return problem->error;
    }
    uint8_t header[MAP_FILE_HEADER_BYTES] = {0};
    memcpy(header, magic, sizeof(magic));
    put_number(header + 8, MAP_FILE_VERSION, 4);
    put_number(header + 16, epoch, 8);
    put_number(header + 24, bytes.len, 8);
    checksum(header, bytes, header + CHECKSUM_AT);

    const char *fate = "The change was not made";
    enum error error = write_new(file, header, bytes);
    if (error == OK && file->ops->rename(file->arg, file->path_new, file->path) != 0)
        error = ERROR_IO;
    if (error == OK) {
        error = sync_directory(file, file->directory);
        fate = "The change was not made, but may come back when the locator is restarted after a "
               "crash";
    }
    if (error != OK) {
        map_problem_set(problem, ERROR_IO,
                        "The cluster map %s cannot be written: %s. %s. Make room on the disk or "
                        "repair it, then try "
                        "again.",
                        file->path, strerror(errno), fate);
        return problem->error;
    }
    file->epoch = epoch;
    return OK;
}
