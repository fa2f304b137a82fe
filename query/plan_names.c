#include "query/plan_names.h"

#include <stdio.h>

#include "query/lexer.h"

/* The window whose text begins at `at`; NULL if none does. */
static const struct ast_window *over_at(const struct query_select *select, uint32_t at)
{
    const struct ast_window *over = select->overs;
    while (over != NULL && over->at != at)
        over = over->next_over;
    return over;
}

/* The expression's words, with one blank where there was any space, and without OVER clauses and
 * comments. */
static const char *written(struct analysis *analysis, const struct ast_expr *expr)
{
    uint32_t len = expr->end - expr->at;
    const char *source = analyze_text(analysis, slice_of(analysis->text.data + expr->at, len));
    char *out = analyze_alloc(analysis, len + 1u);
    if (analysis->status != OK)
        return NULL;
    struct lexer lexer = {.text = slice_of(source, len), .arena = &analysis->plan->arena};
    struct token token;
    size_t used = 0, last_end = 0;
    while ((analysis->status = lexer_next(&lexer, &token)) == OK && token.type != 0) {
        const struct ast_window *over = over_at(analysis->select, expr->at + token.at);
        if (over != NULL) {
            lexer.at = last_end = over->end - expr->at;
            continue;
        }
        if (token.at > last_end && used > 0)
            out[used++] = ' ';
        memcpy(out + used, source + token.at, token.len);
        used += token.len;
        last_end = token.at + token.len;
    }
    return analysis->status == OK ? out : NULL;
}

static const char *base_name(struct analysis *analysis, const struct plan_name *name)
{
    if (name->text.len > 0)
        return analyze_text(analysis, name->text);
    if (name->expr->kind == AST_NAME || name->expr->kind == AST_PARAMETER)
        return analyze_text(analysis, name->expr->name);
    return written(analysis, name->expr);
}

/* Whether any column is called so by itself, or one before `made_count` was made so. */
static bool is_taken(const char *name, const char *const *bases, uint32_t count,
                     const char *const *made, uint32_t made_count)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(bases[i], name) == 0 || (i < made_count && strcmp(made[i], name) == 0))
            return true;
    return false;
}

/* `base #n` with the first free number from `n` on. */
static const char *numbered_name(struct analysis *analysis, uint32_t n, const char *const *bases,
                                 uint32_t count, const char *const *made, uint32_t at)
{
    size_t room = strlen(bases[at]) + 16;
    char *name = analyze_alloc(analysis, room);
    if (name == NULL)
        return NULL;
    do
        (void)snprintf(name, room, "%s #%u", bases[at], n++);
    while (is_taken(name, bases, count, made, at));
    return name;
}

const char **plan_names(struct analysis *analysis, const struct plan_name *names, uint32_t count)
{
    const char **bases = analyze_alloc(analysis, count * sizeof *bases);
    const char **made = analyze_alloc(analysis, count * sizeof *made);
    for (uint32_t i = 0; i < count && analysis->status == OK; i++)
        bases[i] = base_name(analysis, &names[i]);
    for (uint32_t i = 0; i < count && analysis->status == OK; i++) {
        uint32_t same = 1;
        for (uint32_t j = 0; j < i; j++)
            same += strcmp(bases[i], bases[j]) == 0;
        made[i] = same == 1 ? bases[i] : numbered_name(analysis, same, bases, count, made, i);
    }
    return analysis->status == OK ? made : NULL;
}
