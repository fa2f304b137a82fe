#include <errno.h>
#include <ini.h>
#include <stdio.h>

#include "common/mem.h"
#include "common/options_impl.h"
#include "common/text.h"

/* ---- Finding rows ---- */

/* The row at a flat index; false behind the last. */
static bool ref_at(const struct option_table *tables, size_t table_count,
                   struct option_state *states, size_t index, struct option_ref *ref)
{
    size_t flat = index;

    for (size_t t = 0; t < table_count; t++) {
        if (index < tables[t].count) {
            *ref = (struct option_ref){.row = &tables[t].rows[index],
                                       .into = tables[t].into,
                                       .state = states != NULL ? &states[flat] : NULL};
            return true;
        }
        index -= tables[t].count;
    }
    return false;
}

/* By name, or by letter when `name` has one character and `letter` is set. */
static bool find(const struct option_table *tables, size_t table_count, struct option_state *states,
                 struct slice name, bool letter, struct option_ref *ref)
{
    for (size_t i = 0; ref_at(tables, table_count, states, i, ref); i++) {
        if (letter ? (name.len == 1 && ref->row->letter == (char)name.data[0])
                   : slice_equal(name, slice_text(ref->row->name)))
            return true;
    }
    return false;
}

static const char *nearest_name(const struct options *options, struct slice name)
{
    struct text_nearest nearest;
    struct option_ref ref;

    text_nearest_init(&nearest, name);
    for (size_t i = 0; ref_at(options->tables, options->table_count, NULL, i, &ref); i++)
        text_nearest_offer(&nearest, ref.row->name);
    return text_nearest_best(&nearest);
}

/* ---- The file ---- */

struct file_reader {
    struct options *options;
    FILE *file;
    const char *path;
    unsigned line;
    enum error error;
};

/* Gives inih its lines, and counts them. */
static char *read_line(char *out, int size, void *arg)
{
    struct file_reader *reader = arg;
    size_t len;

    if (reader->error != OK || fgets(out, size, reader->file) == NULL)
        return NULL;
    reader->line++;
    len = strlen(out);
    if (len > 0 && out[len - 1] != '\n' && !feof(reader->file)) {
        buf_printf(reader->options->why,
                   "%s line %u: longer than %d bytes; shorten it, or give the option as a flag",
                   reader->path, reader->line, size - 2);
        reader->error = ERROR_INVALID;
        return NULL;
    }
    return out;
}

static int on_file_value(void *arg, const char *section, const char *name, const char *value)
{
    struct file_reader *reader = arg;
    struct options *options = reader->options;
    const struct option_place place = {OPTION_FILE, reader->path, reader->line};
    struct option_ref ref;

    if (reader->error != OK)
        return 0;
    reader->error = ERROR_INVALID;
    if (strncmp(section, "region", 6) == 0 && (section[6] == ' ' || section[6] == '\0')) {
        buf_printf(options->why,
                   "%s line %u: [%s] cannot stand in an options file, since regions live in the "
                   "cluster; remove it and use `vug region create`",
                   reader->path, reader->line, section);
        return 0;
    }
    if (!find(options->tables, options->table_count, options->states, slice_text(name), false,
              &ref)) {
        const char *nearest = nearest_name(options, slice_text(name));

        buf_printf(options->why, "%s line %u: unknown option %s", reader->path, reader->line, name);
        if (nearest != NULL)
            buf_printf(options->why, "; did you mean %s?", nearest);
        else
            buf_append_text(options->why, "; remove it, or see --help for all options");
        return 0;
    }
    if (ref.state->source == OPTION_FILE && ref.row->kind != OPTION_LIST &&
        ref.row->kind != OPTION_REPEATED) {
        buf_printf(options->why, "%s line %u: %s stands on line %u already; remove one of them",
                   reader->path, reader->line, name, ref.state->line);
        return 0;
    }
    reader->error = option_set(options, &ref, &place, slice_text(value));
    return reader->error == OK;
}

static enum error read_file(struct options *options, const char *path)
{
    struct file_reader reader = {.options = options, .path = path};
    int result;

    reader.file = fopen(path, "re");
    if (reader.file == NULL) {
        buf_printf(options->why, "cannot read the options file %s: %s; check --config", path,
                   strerror(errno));
        return ERROR_IO;
    }
    result = ini_parse_stream(read_line, &reader, on_file_value, &reader);
    if (reader.error == OK && ferror(reader.file)) {
        buf_printf(options->why, "cannot read the options file %s: %s; check --config", path,
                   strerror(errno));
        reader.error = ERROR_IO;
    }
    fclose(reader.file);
    if (reader.error == OK && result != 0) {
        buf_printf(options->why,
                   "%s line %d: neither a comment, a [section] nor name = value; correct it", path,
                   result);
        reader.error = ERROR_INVALID;
    }
    return reader.error;
}

/* ---- Environment and flags ---- */

static const char *environment_value(char *const *env, const char *name)
{
    size_t len = strlen(name);

    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    }
    return NULL;
}

static enum error read_environment(struct options *options, char *const *env)
{
    const struct option_place place = {.source = OPTION_ENVIRONMENT};
    enum error error = OK;
    struct option_ref ref;

    for (size_t i = 0;
         error == OK && ref_at(options->tables, options->table_count, options->states, i, &ref);
         i++) {
        char name[OPTION_NAME_BYTES];
        const char *value;

        option_environment_name(ref.row, name);
        value = environment_value(env, name);
        if (value != NULL)
            error = option_set(options, &ref, &place, slice_text(value));
    }
    return error;
}

/* One word of the command line, taken apart. */
struct flag {
    struct slice name;
    const char *value; /* behind `=`, or behind a letter; NULL if the next word may be it */
    bool letter;
};

/* False if the word is an argument. */
static bool split_flag(const char *word, struct flag *flag)
{
    const char *equals;

    if (word[0] != '-' || word[1] == '\0' ||
        (word[1] >= '0' && word[1] <= '9')) /* -12 is an argument */
        return false;
    flag->letter = word[1] != '-';
    if (flag->letter) {
        flag->name = slice_of(word + 1, 1);
        flag->value = word[2] == '\0' ? NULL : word[2] == '=' ? word + 3 : word + 2;
        return true;
    }
    equals = strchr(word + 2, '=');
    flag->name =
        equals != NULL ? slice_of(word + 2, (size_t)(equals - word) - 2) : slice_text(word + 2);
    flag->value = equals != NULL ? equals + 1 : NULL;
    return true;
}

static enum error say_unknown(struct options *options, const struct flag *flag)
{
    const char *nearest = flag->letter ? NULL : nearest_name(options, flag->name);

    buf_printf(options->why, "unknown option %s%.*s", flag->letter ? "-" : "--",
               SLICE_FMT(flag->name));
    if (nearest != NULL)
        buf_printf(options->why, "; did you mean --%s?", nearest);
    else
        buf_append_text(options->why, "; see --help for all options");
    return ERROR_INVALID;
}

/* Walks the command line. With `config` set it only looks for the name of the options file; every
 * mistake is found by the second walk. */
static enum error read_flags(struct options *options, int argc, char *const *argv,
                             const char **config)
{
    const struct option_place place = {.source = OPTION_FLAG};
    bool ended = false;

    for (int i = 0; i < argc; i++) {
        struct option_ref ref;
        struct flag flag;
        enum error error;

        if (!ended && strcmp(argv[i], "--") == 0) {
            ended = true;
            continue;
        }
        if (ended || !split_flag(argv[i], &flag)) {
            if (config == NULL)
                options->arguments[options->argument_count++] = argv[i];
            continue;
        }
        if (!find(options->tables, options->table_count, options->states, flag.name, flag.letter,
                  &ref)) {
            if (config != NULL)
                continue;
            return say_unknown(options, &flag);
        }
        if (flag.value == NULL && ref.row->kind == OPTION_BOOL)
            flag.value = "true";
        if (flag.value == NULL && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
            flag.value = argv[++i];
        if (config != NULL) {
            if (flag.value != NULL && strcmp(ref.row->name, "config") == 0)
                *config = flag.value;
            continue;
        }
        if (flag.value == NULL) {
            buf_printf(options->why, "option --%s needs a value; write --%s=%s", ref.row->name,
                       ref.row->name, option_value_name(ref.row));
            return ERROR_INVALID;
        }
        error = option_set(options, &ref, &place, slice_text(flag.value));
        if (error != OK)
            return error;
    }
    return OK;
}

int options_first_argument(const struct option_table *tables, size_t table_count, int argc,
                           char *const *argv)
{
    for (int i = 0; i < argc; i++) {
        struct option_ref ref;
        struct flag flag;

        if (strcmp(argv[i], "--") == 0)
            return i + 1 < argc ? i + 1 : -1;
        if (!split_flag(argv[i], &flag))
            return i;
        if (flag.value == NULL && find(tables, table_count, NULL, flag.name, flag.letter, &ref) &&
            ref.row->kind != OPTION_BOOL && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
            i++;
    }
    return -1;
}

/* ---- All of it ---- */

static void clear_targets(struct options *options)
{
    struct option_ref ref;

    for (size_t i = 0; ref_at(options->tables, options->table_count, options->states, i, &ref);
         i++) {
        switch (ref.row->kind) {
        case OPTION_STRING:
            *(const char **)option_target(&ref) = NULL;
            break;
        case OPTION_INT:
            *(int64_t *)option_target(&ref) = 0;
            break;
        case OPTION_BOOL:
            *(bool *)option_target(&ref) = false;
            break;
        case OPTION_DURATION:
        case OPTION_SIZE:
            *(uint64_t *)option_target(&ref) = 0;
            break;
        case OPTION_LIST:
        case OPTION_REPEATED:
            *(struct option_list *)option_target(&ref) = (struct option_list){0};
            break;
        }
    }
}

static enum error read_defaults(struct options *options)
{
    const struct option_place place = {.source = OPTION_DEFAULT};
    enum error error = OK;
    struct option_ref ref;

    for (size_t i = 0;
         error == OK && ref_at(options->tables, options->table_count, options->states, i, &ref);
         i++) {
        if (ref.row->default_text != NULL)
            error = option_set(options, &ref, &place, slice_text(ref.row->default_text));
        /* The table itself would be wrong. */
        INVARIANT(error == OK || error == ERROR_MEMORY);
    }
    return error;
}

enum error options_read(const struct option_table *tables, size_t table_count, int argc,
                        char *const *argv, char *const *env, struct buf *why,
                        struct options **options)
{
    struct options *self = mem_zalloc(sizeof *self);
    const char *config = environment_value(env, "VUG_CONFIG");
    struct option_ref ref;
    enum error error;
    size_t rows = 0;

    if (self == NULL)
        return option_say_memory(why);
    for (size_t t = 0; t < table_count; t++)
        rows += tables[t].count;
    self->tables = tables;
    self->table_count = table_count;
    self->why = why;
    self->states = mem_array(rows + 1, sizeof *self->states);
    self->arguments = mem_array((size_t)argc + 1, sizeof *self->arguments);
    if (self->states == NULL || self->arguments == NULL) {
        mem_free(self->arguments);
        mem_free(self->states);
        mem_free(self);
        return option_say_memory(why);
    }
    clear_targets(self);
    error = read_defaults(self);
    if (error == OK)
        error = read_flags(self, argc, argv, &config);
    if (error == OK && config != NULL &&
        find(tables, table_count, NULL, slice_text("config"), false, &ref))
        error = read_file(self, config);
    if (error == OK)
        error = read_environment(self, env);
    if (error == OK)
        error = read_flags(self, argc, argv, NULL);
    if (error != OK) {
        options_free(self);
        return error;
    }
    *options = self;
    return OK;
}

void options_free(struct options *options)
{
    struct option_ref ref;

    if (options == NULL)
        return;
    for (size_t i = 0; ref_at(options->tables, options->table_count, options->states, i, &ref);
         i++) {
        if (ref.row->kind == OPTION_LIST || ref.row->kind == OPTION_REPEATED)
            mem_free(((struct option_list *)option_target(&ref))->items);
    }
    for (size_t i = 0; i < options->text_count; i++)
        mem_free(options->texts[i]);
    mem_free(options->texts);
    mem_free(options->arguments);
    mem_free(options->states);
    mem_free(options);
}

size_t options_argument_count(const struct options *options)
{
    return options->argument_count;
}

const char *options_argument(const struct options *options, size_t index)
{
    PRE(index < options->argument_count);
    return options->arguments[index];
}

enum option_source options_source(const struct options *options, const char *name)
{
    struct option_ref ref;

    INVARIANT(find(options->tables, options->table_count, options->states, slice_text(name), false,
                   &ref));
    return ref.state->source;
}

const char *option_source_text(enum option_source source)
{
    static const char *const texts[] = {[OPTION_DEFAULT] = "default",
                                        [OPTION_FILE] = "file",
                                        [OPTION_ENVIRONMENT] = "environment",
                                        [OPTION_FLAG] = "flag"};

    return texts[source];
}

void options_help(const struct option_row *rows, size_t count, struct buf *out)
{
    enum { COLUMN = 34 };

    for (size_t i = 0; i < count; i++) {
        const struct option_row *row = &rows[i];
        size_t start = out->len;

        if (row->letter != 0)
            buf_printf(out, "  -%c, ", row->letter);
        else
            buf_append_text(out, "      ");
        buf_printf(out, "--%s", row->name);
        if (row->kind != OPTION_BOOL)
            buf_printf(out, " %s", option_value_name(row));
        if (out->len - start >= COLUMN) {
            buf_append_byte(out, '\n');
            start = out->len;
        }
        while (!out->failed && out->len - start < COLUMN)
            buf_append_byte(out, ' ');
        buf_append_text(out, row->help);
        if (row->default_text != NULL && row->kind != OPTION_BOOL)
            buf_printf(out, " (default %s)", row->default_text);
        buf_append_byte(out, '\n');
    }
}
