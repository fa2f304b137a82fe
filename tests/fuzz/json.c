/* Documents: what is valid can be walked, and its canonical form is valid and its own canonical
 * form. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static enum error validate(struct slice document, size_t *end)
{
    struct json_error error;
    buf_init(&error.text);
    enum error status = json_validate(document, end, &error);
    check(status != ERROR_INVALID || error.text.failed || error.text.len > 0, "a refusal says why");
    buf_fini(&error.text);
    return status;
}

static size_t count_fields(struct slice document)
{
    size_t at = 0, count = 0;
    struct slice name;
    bool escaped;
    struct json_token value;
    struct buf plain;
    buf_init(&plain);
    while (json_next_field(document, &at, &name, &escaped, &value)) {
        check(at <= document.len, "a field lies inside the document");
        buf_clear(&plain);
        json_unescape(name, &plain);
        if (value.type == JSON_STRING)
            json_unescape(value.text, &plain);
        count++;
        check(count <= document.len, "the walk ends");
    }
    buf_fini(&plain);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice document = slice_of(data, size);
    size_t end = 0;
    if (validate(document, &end) != OK)
        return 0;
    check(end <= size, "the document ends inside the text");
    document.len = end;
    size_t fields = count_fields(document);

    struct buf out, again;
    buf_init(&out);
    buf_init(&again);
    struct slice canonical = document;
    if (json_canonical(&canonical, &out) == OK) {
        check(validate(canonical, &end) == OK && end == canonical.len,
              "the canonical form is valid");
        check(count_fields(canonical) == fields, "the canonical form has the same fields");
        struct slice second = canonical;
        check(json_canonical(&second, &again) != OK || slice_equal(second, canonical),
              "the canonical form is its own");
    }
    buf_fini(&again);
    buf_fini(&out);
    return 0;
}
