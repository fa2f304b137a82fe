/* The map file under every fault of the system's calls and every damage of its bytes. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "locator/map_file.h"
#include "tests/lib/mem_fault.h"

/* The system's calls, of which the nth fails; transfers can be cut to one byte or interrupted. */
struct faulty {
    unsigned calls, fail_at;
    int fail_with;
    bool bytewise;
    bool interrupt;
    unsigned open_fds;
};

static bool fails(struct faulty *faulty)
{
    faulty->calls++;
    if (faulty->calls != faulty->fail_at)
        return false;
    errno = faulty->fail_with;
    return true;
}

static int faulty_make_directory(void *arg, const char *path, mode_t mode)
{
    return fails(arg) ? -1 : map_file_system.make_directory(NULL, path, mode);
}

static int faulty_open(void *arg, const char *path, int flags, mode_t mode)
{
    struct faulty *faulty = arg;
    if (fails(faulty))
        return -1;
    int fd = map_file_system.open(NULL, path, flags, mode);
    faulty->open_fds += fd >= 0;
    return fd;
}

static int faulty_lock(void *arg, int fd)
{
    return fails(arg) ? -1 : map_file_system.lock(NULL, fd);
}

static off_t faulty_size(void *arg, int fd)
{
    return fails(arg) ? -1 : map_file_system.size(NULL, fd);
}

static size_t part(struct faulty *faulty, size_t len)
{
    return faulty->bytewise && len > 1 ? 1 : len;
}

static bool interrupted(struct faulty *faulty)
{
    if (!faulty->interrupt)
        return false;
    faulty->interrupt = false;
    errno = EINTR;
    return true;
}

static ssize_t faulty_read(void *arg, int fd, void *data, size_t len)
{
    if (interrupted(arg) || fails(arg))
        return -1;
    return map_file_system.read(NULL, fd, data, part(arg, len));
}

static ssize_t faulty_write(void *arg, int fd, const void *data, size_t len)
{
    if (interrupted(arg) || fails(arg))
        return -1;
    return map_file_system.write(NULL, fd, data, part(arg, len));
}

static int faulty_sync(void *arg, int fd)
{
    return fails(arg) ? -1 : map_file_system.sync(NULL, fd);
}

static int faulty_rename(void *arg, const char *from, const char *to)
{
    return fails(arg) ? -1 : map_file_system.rename(NULL, from, to);
}

/* As the system does it: the descriptor is gone even if close() reports a failure. */
static int faulty_close(void *arg, int fd)
{
    struct faulty *faulty = arg;
    faulty->open_fds--;
    map_file_system.close(NULL, fd);
    return fails(faulty) ? -1 : 0;
}

static const struct map_file_ops faulty_ops = {
    .make_directory = faulty_make_directory,
    .open = faulty_open,
    .lock = faulty_lock,
    .size = faulty_size,
    .read = faulty_read,
    .write = faulty_write,
    .sync = faulty_sync,
    .rename = faulty_rename,
    .close = faulty_close,
};

struct fixture {
    char base[64];
    char directory[96];
    char path[128];
    struct faulty faulty;
    struct map_file *file;
    struct map_problem problem;
};

static enum error reopen(struct fixture *fixture)
{
    if (fixture->file != NULL)
        map_file_close(fixture->file);
    fixture->file = NULL;
    return map_file_open(fixture->directory, &faulty_ops, &fixture->faulty, &fixture->file,
                         &fixture->problem);
}

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    snprintf(fixture.base, sizeof(fixture.base), "/tmp/vug-map-file-XXXXXX");
    assert_non_null(mkdtemp(fixture.base));
    snprintf(fixture.directory, sizeof(fixture.directory), "%s/a/b", fixture.base);
    snprintf(fixture.path, sizeof(fixture.path), "%s/cluster-map", fixture.directory);
    mem_fault_fail_at(0);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->file != NULL)
        map_file_close(fixture->file);
    static const char *const names[] = {"/a/b/cluster-map", "/a/b/cluster-map.new", "/a/b/lock"};
    char path[160];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s%s", fixture->base, names[i]);
        unlink(path);
    }
    rmdir(fixture->directory);
    snprintf(path, sizeof(path), "%s/a", fixture->base);
    rmdir(path);
    rmdir(fixture->base);
    return fixture->faulty.open_fds == 0 ? 0 : -1;
}

static const char first[] = "the first map";
static const char second[] = "the second map, which is longer";

static void store_first(struct fixture *fixture)
{
    assert_int_equal(reopen(fixture), OK);
    assert_int_equal(map_file_store(fixture->file, 0, 1, slice_text(first), &fixture->problem), OK);
}

/* What a new process finds; 0 if it cannot be read. */
static uint64_t restart_and_load(struct fixture *fixture, struct buf *bytes)
{
    uint64_t epoch = 0;
    buf_clear(bytes);
    assert_int_equal(reopen(fixture), OK);
    assert_int_equal(map_file_load(fixture->file, bytes, &epoch, &fixture->problem), OK);
    return epoch;
}

static void read_raw(const struct fixture *fixture, uint8_t *data, size_t *len)
{
    FILE *raw = fopen(fixture->path, "rb");
    assert_non_null(raw);
    *len = fread(data, 1, *len, raw);
    fclose(raw);
}

static void write_raw(const struct fixture *fixture, const uint8_t *data, size_t len)
{
    FILE *raw = fopen(fixture->path, "wb");
    assert_non_null(raw);
    assert_int_equal(fwrite(data, 1, len, raw), len);
    assert_int_equal(fclose(raw), 0);
}

static void test_missing_directory_is_made_for_its_owner_alone(void **state)
{
    struct fixture *fixture = *state;
    struct stat status;
    assert_int_equal(reopen(fixture), OK);
    assert_int_equal(stat(fixture->directory, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
}

static void test_no_file_is_epoch_zero(void **state)
{
    struct buf bytes;
    buf_init(&bytes);
    assert_int_equal(restart_and_load(*state, &bytes), 0);
    assert_int_equal(bytes.len, 0);
    buf_fini(&bytes);
}

static void test_stored_map_comes_back(void **state)
{
    struct fixture *fixture = *state;
    struct buf bytes;
    buf_init(&bytes);
    fixture->faulty.bytewise = true;
    fixture->faulty.interrupt = true;
    store_first(fixture);
    assert_int_equal(restart_and_load(fixture, &bytes), 1);
    assert_true(slice_equal(buf_slice(&bytes), slice_text(first)));
    fixture->faulty.interrupt = true;
    assert_int_equal(map_file_store(fixture->file, 1, 2, slice_text(second), &fixture->problem),
                     OK);
    fixture->faulty.interrupt = true;
    assert_int_equal(restart_and_load(fixture, &bytes), 2);
    assert_true(slice_equal(buf_slice(&bytes), slice_text(second)));
    buf_fini(&bytes);
}

static void test_other_epoch_is_a_conflict(void **state)
{
    struct fixture *fixture = *state;
    struct buf bytes;
    buf_init(&bytes);
    store_first(fixture);
    assert_int_equal(map_file_store(fixture->file, 0, 1, slice_text(second), &fixture->problem),
                     ERROR_CONFLICT);
    assert_int_equal(map_file_store(fixture->file, 2, 3, slice_text(second), &fixture->problem),
                     ERROR_CONFLICT);
    assert_int_equal(restart_and_load(fixture, &bytes), 1);
    buf_fini(&bytes);
}

static void test_second_process_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct map_file *other;
    struct map_problem problem;
    assert_int_equal(reopen(fixture), OK);
    assert_int_equal(map_file_open(fixture->directory, &map_file_system, NULL, &other, &problem),
                     ERROR_LOCKED);
    assert_non_null(strstr(problem.text, fixture->directory));
    assert_non_null(strstr(problem.text, "--data-dir"));
    map_file_close(fixture->file);
    fixture->file = NULL;
    assert_int_equal(map_file_open(fixture->directory, &map_file_system, NULL, &other, &problem),
                     OK);
    map_file_close(other);
}

static void test_path_through_a_file_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct map_file *other;
    struct map_problem problem;
    char path[160];
    store_first(fixture);
    snprintf(path, sizeof(path), "%s/below", fixture->path);
    assert_int_equal(map_file_open(path, &map_file_system, NULL, &other, &problem), ERROR_IO);
    assert_non_null(strstr(problem.text, path));
    assert_non_null(strstr(problem.text, strerror(ENOTDIR)));
}

static enum error load_damaged(struct fixture *fixture)
{
    struct buf bytes;
    uint64_t epoch = 0;
    buf_init(&bytes);
    fixture->problem.error = OK;
    enum error error = map_file_load(fixture->file, &bytes, &epoch, &fixture->problem);
    if (error != OK) {
        assert_int_equal(bytes.len, 0);
        assert_int_equal(epoch, 0);
        assert_int_equal(fixture->problem.error, error);
        assert_non_null(strstr(fixture->problem.text, fixture->path));
    }
    buf_fini(&bytes);
    return error;
}

static void test_every_truncation_is_named(void **state)
{
    struct fixture *fixture = *state;
    uint8_t data[256];
    size_t len = sizeof(data);
    store_first(fixture);
    read_raw(fixture, data, &len);
    assert_int_equal(len, MAP_FILE_HEADER_BYTES + strlen(first));
    for (size_t cut = 0; cut < len; cut++) {
        write_raw(fixture, data, cut);
        assert_int_equal(load_damaged(fixture), ERROR_DAMAGED);
        assert_non_null(strstr(fixture->problem.text, "damaged"));
    }
    write_raw(fixture, data, len);
    assert_int_equal(load_damaged(fixture), OK);
}

static void test_every_flipped_bit_is_named(void **state)
{
    struct fixture *fixture = *state;
    uint8_t data[256];
    size_t len = sizeof(data);
    store_first(fixture);
    read_raw(fixture, data, &len);
    for (size_t bit = 0; bit < len * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        write_raw(fixture, data, len);
        enum error error = load_damaged(fixture);
        bool in_version = bit / 8 >= 8 && bit / 8 < 12;
        assert_true(error == ERROR_DAMAGED || (in_version && error == ERROR_UNSUPPORTED));
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    data[len] = 0;
    write_raw(fixture, data, len + 1);
    assert_int_equal(load_damaged(fixture), ERROR_DAMAGED);
}

static void test_odd_files_are_named(void **state)
{
    static const struct {
        size_t at;
        uint8_t byte;
        enum error error;
        const char *says;
    } cases[] = {
        {0, 'X', ERROR_DAMAGED, "does not begin like a cluster map"},
        {8, 2, ERROR_UNSUPPORTED, "newer"},
        {8, 0, ERROR_DAMAGED, "header makes no sense"},
        {12, 1, ERROR_DAMAGED, "header makes no sense"},
        {16, 9, ERROR_DAMAGED, "checksum"},
        {24, 9, ERROR_DAMAGED, "of a map of 9"},
        {24, 0, ERROR_DAMAGED, "of a map of 0"},
        {40, 1, ERROR_DAMAGED, "checksum"},
    };
    struct fixture *fixture = *state;
    uint8_t data[256];
    size_t len = sizeof(data);
    store_first(fixture);
    read_raw(fixture, data, &len);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t before = data[cases[i].at];
        data[cases[i].at] = cases[i].byte;
        write_raw(fixture, data, len);
        assert_int_equal(load_damaged(fixture), cases[i].error);
        assert_non_null(strstr(fixture->problem.text, cases[i].says));
        data[cases[i].at] = before;
    }
    write_raw(fixture, (const uint8_t *)"", 0);
    assert_int_equal(load_damaged(fixture), ERROR_DAMAGED);
    assert_non_null(strstr(fixture->problem.text, "empty"));
    assert_int_equal(truncate(fixture->path, (off_t)LIMIT_MAP_BYTES + 4096), 0);
    assert_int_equal(load_damaged(fixture), ERROR_LIMIT);
}

/* Whatever call fails while a map is stored: the error is told, and a restart finds one of the two
 * maps, whole; the new one only where the problem said so. */
static void test_each_failing_call_of_a_store_keeps_a_whole_map(void **state)
{
    static const int numbers[] = {ENOSPC, EIO};
    struct fixture *fixture = *state;
    struct buf bytes;
    buf_init(&bytes);
    for (size_t i = 0; i < 2; i++) {
        unsigned failed = 0;
        for (unsigned n = 1;; n++) {
            unlink(fixture->path);
            store_first(fixture);
            fixture->faulty.calls = 0;
            fixture->faulty.fail_at = n;
            fixture->faulty.fail_with = numbers[i];
            enum error error =
                map_file_store(fixture->file, 1, 2, slice_text(second), &fixture->problem);
            bool reached = fixture->faulty.calls >= n;
            fixture->faulty.fail_at = 0;
            bool doubtful = error != OK && strstr(fixture->problem.text, "may come back") != NULL;
            if (error != OK) {
                failed++;
                assert_int_equal(error, ERROR_IO);
                assert_non_null(strstr(fixture->problem.text, strerror(numbers[i])));
                /* The handle still stands on the old epoch and can try again. */
                assert_int_equal(
                    map_file_store(fixture->file, 2, 3, slice_text(second), &fixture->problem),
                    ERROR_CONFLICT);
            }
            uint64_t epoch = restart_and_load(fixture, &bytes);
            assert_int_equal(epoch, error == OK || doubtful ? 2 : 1);
            assert_true(slice_equal(buf_slice(&bytes), slice_text(epoch == 2 ? second : first)));
            if (!reached)
                break;
        }
        /* open, two writes, sync, close, rename, open and sync of the directory */
        assert_int_equal(failed, 8);
    }
    buf_fini(&bytes);
}

static void test_failed_store_can_be_repeated(void **state)
{
    struct fixture *fixture = *state;
    struct buf bytes;
    buf_init(&bytes);
    store_first(fixture);
    for (unsigned n = 1; n <= 8; n++) {
        fixture->faulty.calls = 0;
        fixture->faulty.fail_at = n;
        fixture->faulty.fail_with = ENOSPC;
        assert_int_equal(
            map_file_store(fixture->file, n, n + 1, slice_text(second), &fixture->problem),
            ERROR_IO);
        fixture->faulty.fail_at = 0;
        assert_int_equal(
            map_file_store(fixture->file, n, n + 1, slice_text(second), &fixture->problem), OK);
        assert_int_equal(restart_and_load(fixture, &bytes), n + 1);
    }
    buf_fini(&bytes);
}

static void test_each_failing_call_of_a_load_is_told(void **state)
{
    struct fixture *fixture = *state;
    store_first(fixture);
    unsigned failed = 0;
    for (unsigned n = 1;; n++) {
        fixture->faulty.calls = 0;
        fixture->faulty.fail_at = n;
        fixture->faulty.fail_with = EIO;
        enum error error = load_damaged(fixture);
        bool reached = fixture->faulty.calls >= n;
        failed += error == ERROR_IO;
        if (!reached)
            break;
    }
    assert_int_equal(failed, 4); /* open, size, two reads; a failing close loses nothing */
}

static void test_each_failing_call_of_open_is_told(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned n = 1;; n++) {
        char path[128];
        rmdir(fixture->directory);
        fixture->faulty.calls = 0;
        fixture->faulty.fail_at = n;
        fixture->faulty.fail_with = EACCES;
        enum error error = reopen(fixture);
        bool reached = fixture->faulty.calls >= n;
        fixture->faulty.fail_at = 0;
        if (error != OK) {
            assert_int_equal(error, ERROR_IO);
            assert_null(fixture->file);
            assert_int_equal(fixture->faulty.open_fds, 0);
            assert_non_null(strstr(fixture->problem.text, fixture->directory));
            assert_non_null(strstr(fixture->problem.text, strerror(EACCES)));
        }
        if (!reached) {
            assert_int_equal(error, OK);
            break;
        }
        map_file_close((reopen(fixture), fixture->file));
        fixture->file = NULL;
        snprintf(path, sizeof(path), "%s/lock", fixture->directory);
        unlink(path);
        snprintf(path, sizeof(path), "%s/cluster-map.new", fixture->directory);
        unlink(path);
    }
}

static void test_each_failing_allocation_is_told(void **state)
{
    struct fixture *fixture = *state;
    store_first(fixture);
    map_file_close(fixture->file);
    fixture->file = NULL;
    long live = mem_fault_live();
    for (unsigned long n = 1;; n++) {
        struct buf bytes;
        uint64_t epoch;
        buf_init(&bytes);
        mem_fault_fail_at(n);
        enum error error = reopen(fixture);
        if (error == OK)
            error = map_file_load(fixture->file, &bytes, &epoch, &fixture->problem);
        mem_fault_fail_at(0);
        buf_fini(&bytes);
        if (fixture->file != NULL)
            map_file_close(fixture->file);
        fixture->file = NULL;
        assert_int_equal(mem_fault_live(), live);
        if (error == OK)
            break;
        assert_int_equal(error, ERROR_MEMORY);
        assert_int_equal(fixture->problem.error, ERROR_MEMORY);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_missing_directory_is_made_for_its_owner_alone),
        TEST(test_no_file_is_epoch_zero),
        TEST(test_stored_map_comes_back),
        TEST(test_other_epoch_is_a_conflict),
        TEST(test_second_process_is_refused),
        TEST(test_path_through_a_file_is_refused),
        TEST(test_every_truncation_is_named),
        TEST(test_every_flipped_bit_is_named),
        TEST(test_odd_files_are_named),
        TEST(test_each_failing_call_of_a_store_keeps_a_whole_map),
        TEST(test_failed_store_can_be_repeated),
        TEST(test_each_failing_call_of_a_load_is_told),
        TEST(test_each_failing_call_of_open_is_told),
        TEST(test_each_failing_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
