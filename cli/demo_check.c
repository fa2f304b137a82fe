#include "cli/demo_check.h"

#include "common/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define KEYS_MAX    100000u
#define FIELD_MAX   256
#define DIGITS      9 /* behind the point */
#define COLUMNS_MAX 64

struct station {
    char *id;
    size_t id_len;
    uint64_t rows;      /* that count */
    uint64_t readings;  /* of them, with a temperature */
    __int128 sum;       /* in 10^-9 */
    __int128 magnitude; /* the same of the absolute values */
};

struct demo_check {
    struct station *stations;
    uint32_t count, cap;
};

/* One line's fields; quotes are taken off, line ends inside of quotes are not expected in readings.
 */
struct line {
    char fields[COLUMNS_MAX][FIELD_MAX];
    int count;
};

/* False at the end of the file. *good: the line could be taken apart. */
static bool read_line(FILE *file, struct line *line, bool *good)
{
    int c = getc(file), len = 0;
    bool quoted = false;
    *good = true;
    if (c == EOF)
        return false;
    line->count = 0;
    for (;; c = getc(file)) {
        if (quoted && c == '"') {
            int next = getc(file);
            if (next != '"') {
                quoted = false;
                ungetc(next, file);
                continue;
            }
        } else if (!quoted && c == '"' && len == 0) {
            quoted = true;
            continue;
        } else if (c == EOF || (!quoted && (c == ',' || c == '\n'))) {
            if (len > 0 && c != ',' && line->fields[line->count][len - 1] == '\r')
                len--;
            line->fields[line->count][len] = '\0';
            line->count++;
            len = 0;
            if (c != ',')
                return true;
            if (line->count == COLUMNS_MAX) {
                line->count--;
                *good = false;
            }
            continue;
        }
        if (len == FIELD_MAX - 1)
            *good = false;
        else
            line->fields[line->count][len++] = (char)c;
    }
}

/* -12.345 as a number of 10^-9. False for what this cannot hold: exponents, more digits. */
static bool read_decimal(const char *text, __int128 *number)
{
    bool negative = *text == '-';
    int whole = 0, fraction = 0;
    *number = 0;
    for (text += negative; *text >= '0' && *text <= '9' && whole < 15; text++, whole++)
        *number = *number * 10 + (*text - '0');
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9' && fraction < DIGITS; text++, fraction++)
            *number = *number * 10 + (*text - '0');
    if (*text != '\0' || whole == 0)
        return false;
    for (; fraction < DIGITS; fraction++)
        *number *= 10;
    if (negative)
        *number = -*number;
    return true;
}

static struct station *find(const struct demo_check *check, const char *id, size_t len)
{
    for (uint32_t i = 0; i < check->count; i++)
        if (check->stations[i].id_len == len && memcmp(check->stations[i].id, id, len) == 0)
            return &check->stations[i];
    return NULL;
}

static enum error add(struct demo_check *check, const char *id, struct station **station)
{
    if (check->count == KEYS_MAX)
        return ERROR_LIMIT;
    if (check->count == check->cap) {
        uint32_t cap = check->cap == 0 ? 16 : check->cap * 2;
        struct station *stations = mem_realloc(check->stations, cap * sizeof *stations);
        if (stations == NULL)
            return ERROR_MEMORY;
        check->stations = stations;
        check->cap = cap;
    }
    *station = &check->stations[check->count];
    **station = (struct station){.id = mem_strndup(id, strlen(id)), .id_len = strlen(id)};
    if ((*station)->id == NULL)
        return ERROR_MEMORY;
    check->count++;
    return OK;
}

static enum error take(struct demo_check *check, const char *id, const char *timestamp,
                       const char *temperature, int64_t start_time_ms)
{
    char *end = NULL;
    struct station *station = find(check, id, strlen(id));
    __int128 number = 0;
    errno = 0;
    long long time_ms = strtoll(timestamp, &end, 10);
    if (timestamp[0] == '\0' || *end != '\0' || errno != 0)
        return timestamp[0] == '\0' ? OK : ERROR_INVALID; /* NULL >= start_time is not true */
    if (time_ms < start_time_ms)
        return OK;
    if (temperature[0] != '\0' && !read_decimal(temperature, &number))
        return ERROR_INVALID;
    if (station == NULL) {
        enum error error = add(check, id, &station);
        if (error != OK)
            return error;
    }
    station->rows++;
    if (temperature[0] == '\0')
        return OK;
    station->readings++;
    station->sum += number;
    station->magnitude += number < 0 ? -number : number;
    return OK;
}

static int column_of(const struct line *header, const char *name)
{
    for (int i = 0; i < header->count; i++) {
        const char *field = header->fields[i];
        if (i == 0 && memcmp(field, "\xef\xbb\xbf", 3) == 0)
            field += 3;
        if (strcmp(field, name) == 0)
            return i;
    }
    return -1;
}

static enum error read_file(struct demo_check *check, FILE *file, int64_t start_time_ms,
                            char problem[256])
{
    struct line *line = mem_alloc(sizeof *line);
    enum error error = OK;
    bool good = true;
    if (line == NULL)
        return ERROR_MEMORY;
    if (!read_line(file, line, &good))
        line->count = 0;
    int id = column_of(line, "id"), time = column_of(line, "timestamp"),
        degrees = column_of(line, "temperature");
    int columns = line->count;
    if (!good || id < 0 || time < 0 || degrees < 0) {
        snprintf(problem, 256, "its columns must be id, timestamp and temperature");
        error = ERROR_INVALID;
    }
    for (unsigned long number = 2; error == OK && read_line(file, line, &good); number++) {
        if (line->count == 1 && line->fields[0][0] == '\0')
            continue;
        error = good && line->count == columns ? take(check, line->fields[id], line->fields[time],
                                                      line->fields[degrees], start_time_ms)
                                               : ERROR_INVALID;
        if (error != OK)
            snprintf(problem, 256, "line %lu cannot be checked: %s", number, error_text(error));
    }
    if (error == OK && ferror(file)) {
        snprintf(problem, 256, "%s", error_text(ERROR_IO));
        error = ERROR_IO;
    }
    mem_free(line);
    return error;
}

enum error demo_check_new(const char *path, int64_t start_time_ms, struct demo_check **out,
                          char problem[256])
{
    struct demo_check *check = mem_zalloc(sizeof *check);
    problem[0] = '\0';
    if (check == NULL)
        return ERROR_MEMORY;
    FILE *file = fopen(path, "re");
    enum error error = ERROR_IO;
    if (file == NULL) {
        snprintf(problem, 256, "%s", strerror(errno));
    } else {
        error = read_file(check, file, start_time_ms, problem);
        fclose(file);
    }
    if (error != OK) {
        demo_check_free(check);
        return error;
    }
    *out = check;
    return OK;
}

void demo_check_free(struct demo_check *check)
{
    for (uint32_t i = 0; i < check->count; i++)
        mem_free(check->stations[i].id);
    mem_free(check->stations);
    mem_free(check);
}

uint32_t demo_check_key_count(const struct demo_check *check)
{
    return check->count;
}

struct slice demo_check_key(const struct demo_check *check, uint32_t index)
{
    return slice_of(check->stations[index].id, check->stations[index].id_len);
}

uint64_t demo_check_rows(const struct demo_check *check, uint32_t index)
{
    return check->stations[index].rows;
}

bool demo_check_matches(const struct demo_check *check, struct slice key, const double *average)
{
    const struct station *station = find(check, (const char *)key.data, key.len);
    if (station == NULL)
        return false;
    if (station->readings == 0 || average == NULL)
        return station->readings == 0 && average == NULL;
    long double scale = 1e9L * (long double)station->readings;
    long double expected = (long double)station->sum / scale;
    long double bound = ldexpl((long double)station->magnitude / scale, -52);
    return isfinite(*average) && fabsl((long double)*average - expected) <= bound;
}
