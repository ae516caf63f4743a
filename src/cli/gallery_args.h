/* What the gallery's commands share: the query of search and export, ids, answers. */
#ifndef LIMN_CLI_GALLERY_ARGS_H
#define LIMN_CLI_GALLERY_ARGS_H

#include <jansson.h>

#include "base/text.h"
#include "cli/gallery_place.h"

struct gallery_query_args {
    struct option_texts where;
    int sort;
    int64_t limit, offset;
    bool deleted;
};
const char *gallery_sort_choice(int index);
/* The rows of a member `query`; how many at most as a text, and the letter for that. */
#define OPTION_ROWS_QUERY(type, most, letter)                                                                        \
    { "where", 'w', OPTION_TEXTS, offsetof(type, query.where), .value = "FILTER",                            \
      .help = "only pictures for which this holds, as \"steps>=20\" or tag=cat; all given ones must" },      \
    { "sort", 0, OPTION_CHOICE, offsetof(type, query.sort), "latest", .choices = gallery_sort_choice,        \
      .help = "latest and oldest: as they came in; created: when they were made" },                          \
    { "limit", letter, OPTION_INT, offsetof(type, query.limit), most, .min = 0, .max = (double)INT64_MAX, .help = "at most so many" }, \
    { "offset", 0, OPTION_INT, offsetof(type, query.offset), "0", .min = 0, .max = (double)INT64_MAX, .help = "leave out so many first" }, \
    { "deleted", 0, OPTION_FLAG, offsetof(type, query.deleted), .help = "those that were deleted" }

/* Member user (const char *): whose gallery. */
#define OPTION_ROW_GALLERY_USER(type)                                                                        \
    { "user", 'u', OPTION_TEXT, offsetof(type, user), .value = "NAME", .help = "whose gallery, of a server that has users" }
/* As the gallery wants it. */
static inline const char *gallery_owner(const char *user)
{
    return user ? user : "";
}

/* The query of a user (may be NULL); words (the command's) are joined in `joined`, which must outlive it. */
void gallery_query_of(struct gallery_query *out, const struct gallery_query_args *a, const char *user, const struct option_texts *words,
                      struct text *joined);

/* The ids behind what was typed: an id, a range as 5-9, or the beginning of a hash. Grows *ids (mem_free). ERR_MISSING, ERR_ARG. */
MUST_USE bool gallery_ids(struct store *s, const char *user, const struct option_texts *typed, int64_t **ids, size_t *count, struct err *e);

/* One line of JSON on stdout; NULL is ERR_NOMEM. */
MUST_USE bool gallery_print(json_t *o, struct err *e);
/* The same, and gives it back. */
MUST_USE bool gallery_print_new(json_t *o, struct err *e);

#endif
