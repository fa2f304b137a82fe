#include <ctype.h>
#include <stdio.h>

#include "common/mem.h"
#include "common/options_impl.h"
#include "common/text.h"

/* ---- Sentences ---- */

void option_environment_name(const struct option_row *row, char out[OPTION_NAME_BYTES])
{
    size_t len = (size_t)snprintf(out, OPTION_NAME_BYTES, "VUG_%s", row->name);

    INVARIANT(len < OPTION_NAME_BYTES);
    for (size_t i = 4; i < len; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static void say_place(struct buf *why, const struct option_ref *ref,
                      const struct option_place *place)
{
    char name[OPTION_NAME_BYTES];

    switch (place->source) {
    case OPTION_FILE:
        buf_printf(why, "%s line %u: %s", place->file, place->line, ref->row->name);
        break;
    case OPTION_ENVIRONMENT:
        option_environment_name(ref->row, name);
        buf_printf(why, "environment variable %s", name);
        break;
    case OPTION_DEFAULT:
    case OPTION_FLAG:
        buf_printf(why, "option --%s", ref->row->name);
        break;
    }
}

const char *option_value_name(const struct option_row *row)
{
    static const char *const names[] = {
        [OPTION_STRING] = "TEXT",       [OPTION_INT] = "N",
        [OPTION_BOOL] = "true|false",   [OPTION_SIZE] = "SIZE",
        [OPTION_DURATION] = "DURATION", [OPTION_LIST] = "A,B,..",
        [OPTION_REPEATED] = "TEXT",
    };

    return row->value_name != NULL ? row->value_name : names[row->kind];
}

enum error option_say_memory(struct buf *why)
{
    buf_append_text(why, "out of memory while reading the options; free some and start again");
    return ERROR_MEMORY;
}

/* ---- Values ---- */

/* Keeps a copy that lives as long as the options; NULL without memory. */
static const char *keep(struct options *options, struct slice text)
{
    char *copy;

    if (options->text_count == options->text_cap) {
        size_t cap = options->text_cap == 0 ? 16 : options->text_cap * 2;
        char **texts = mem_realloc(options->texts, cap * sizeof *texts);

        if (texts == NULL)
            return NULL;
        options->texts = texts;
        options->text_cap = cap;
    }
    copy = mem_strndup((const char *)text.data, text.len);
    if (copy != NULL)
        options->texts[options->text_count++] = copy;
    return copy;
}

static enum error add_item(struct options *options, struct option_list *list, struct slice text)
{
    const char **items = list->items;

    if (list->count == OPTION_ITEMS_MAX)
        return ERROR_LIMIT;
    if ((list->count & (list->count - 1)) == 0) {
        size_t cap = list->count == 0 ? 1 : list->count * 2;

        items = mem_realloc(list->items, cap * sizeof *items);
        if (items == NULL)
            return ERROR_MEMORY;
        list->items = items;
    }
    items[list->count] = keep(options, text);
    if (items[list->count] == NULL)
        return ERROR_MEMORY;
    list->count++;
    return OK;
}

static bool parse_bool(struct slice text, bool *value)
{
    static const struct {
        const char *text;
        bool value;
    } words[] = {{"true", true}, {"false", false}, {"yes", true}, {"no", false},
                 {"on", true},   {"off", false},   {"1", true},   {"0", false}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (slice_equal(text, slice_text(words[i].text))) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

static enum error set_int(const struct option_ref *ref, struct slice text, struct buf *why)
{
    const struct option_row *row = ref->row;
    bool bounded = row->min != 0 || row->max != 0;
    int64_t number;

    if (!text_parse_i64(text_trim(text), &number)) {
        buf_printf(why, ": \"%.*s\" is not a whole number", SLICE_FMT(text));
    } else if (bounded && (number < row->min || number > row->max)) {
        buf_printf(why, ": %lld is out of range", (long long)number);
    } else {
        *(int64_t *)option_target(ref) = number;
        return OK;
    }
    if (bounded)
        buf_printf(why, "; give one from %lld to %lld", (long long)row->min, (long long)row->max);
    else
        buf_append_text(why, "; give one without spaces or other signs");
    return ERROR_INVALID;
}

static enum error set_duration(const struct option_ref *ref, struct slice text, struct buf *why)
{
    const struct option_row *row = ref->row;
    bool bounded = row->min != 0 || row->max != 0;
    uint64_t number, ms;

    if (text_parse_u64(text_trim(text), &number)) {
        buf_printf(why, ": %llu has no unit; write %llus for seconds or %llums for milliseconds",
                   (unsigned long long)number, (unsigned long long)number,
                   (unsigned long long)number);
        return ERROR_INVALID;
    }
    if (text_parse_duration(text, &ms) != OK) {
        buf_printf(why,
                   ": \"%.*s\" is not a duration; write a whole number and ms, s, min, h or d, "
                   "as in 250ms or 5s",
                   SLICE_FMT(text));
        return ERROR_INVALID;
    }
    if (bounded && (ms < (uint64_t)row->min || ms > (uint64_t)row->max)) {
        buf_printf(why, ": %.*s is out of range; give one from %lldms to %lldms", SLICE_FMT(text),
                   (long long)row->min, (long long)row->max);
        return ERROR_INVALID;
    }
    *(uint64_t *)option_target(ref) = ms;
    return OK;
}

static enum error set_size(const struct option_ref *ref, struct slice text, struct buf *why)
{
    const struct option_row *row = ref->row;
    bool bounded = row->min != 0 || row->max != 0;
    uint64_t number, bytes;

    if (text_parse_u64(text_trim(text), &number)) {
        buf_printf(why, ": %llu has no unit; write %lluMiB, or with B, KiB or GiB",
                   (unsigned long long)number, (unsigned long long)number);
        return ERROR_INVALID;
    }
    if (text_parse_size(text, &bytes) != OK) {
        buf_printf(why,
                   ": \"%.*s\" is not a size; write a whole number and B, KiB, MiB or GiB, as in "
                   "48MiB",
                   SLICE_FMT(text));
        return ERROR_INVALID;
    }
    if (bounded && (bytes < (uint64_t)row->min || bytes > (uint64_t)row->max)) {
        buf_printf(why, ": %.*s is out of range; give one from %lldB to %lldB", SLICE_FMT(text),
                   (long long)row->min, (long long)row->max);
        return ERROR_INVALID;
    }
    *(uint64_t *)option_target(ref) = bytes;
    return OK;
}

static enum error set_list(struct options *options, const struct option_ref *ref, struct slice text,
                           enum option_source source, struct buf *why)
{
    struct option_list *list = option_target(ref);
    struct slice part;
    enum error error = OK;

    /* A stronger source replaces the list, the same one adds to it. */
    if (ref->state->source != source)
        list->count = 0;
    if (ref->row->kind == OPTION_REPEATED) {
        error = add_item(options, list, text);
    } else {
        while (error == OK && text_next_part(&text, ',', &part)) {
            if (part.len > 0)
                error = add_item(options, list, part);
        }
    }
    if (error == ERROR_LIMIT) {
        buf_printf(why, ": more than %d values; give fewer", OPTION_ITEMS_MAX);
        error = ERROR_INVALID;
    }
    return error;
}

enum error option_set(struct options *options, const struct option_ref *ref,
                      const struct option_place *place, struct slice text)
{
    struct buf sentence;
    enum error error = OK;
    const char *copy;

    buf_init(&sentence);
    switch (ref->row->kind) {
    case OPTION_STRING:
        copy = keep(options, text);
        *(const char **)option_target(ref) = copy;
        error = copy != NULL ? OK : ERROR_MEMORY;
        break;
    case OPTION_INT:
        error = set_int(ref, text, &sentence);
        break;
    case OPTION_BOOL:
        if (!parse_bool(text_trim(text), option_target(ref))) {
            buf_printf(&sentence, ": \"%.*s\" is neither true nor false; give one of these",
                       SLICE_FMT(text));
            error = ERROR_INVALID;
        }
        break;
    case OPTION_DURATION:
        error = set_duration(ref, text, &sentence);
        break;
    case OPTION_SIZE:
        error = set_size(ref, text, &sentence);
        break;
    case OPTION_LIST:
    case OPTION_REPEATED:
        error = set_list(options, ref, text, place->source, &sentence);
        break;
    }
    if (error == OK) {
        ref->state->source = place->source;
        ref->state->line = place->line;
    } else if (error == ERROR_MEMORY) {
        option_say_memory(options->why);
    } else {
        say_place(options->why, ref, place);
        buf_append_slice(options->why, buf_slice(&sentence));
    }
    buf_fini(&sentence);
    return error;
}
