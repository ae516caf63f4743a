#include "cli/gallery_args.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/json_line.h"

enum { MOST_IDS = 1000000 };

const char *gallery_sort_choice(int index)
{
    return index >= 0 && index <= GALLERY_SORTS ? gallery_sort_names[index] : NULL;
}

void gallery_query_of(struct gallery_query *out, const struct gallery_query_args *a, const char *user, const struct option_texts *words,
                      struct text *joined)
{
    *out = (struct gallery_query){ .owner = gallery_owner(user), .sort = (enum gallery_sort)a->sort, .limit = a->limit, .offset = a->offset, .deleted = a->deleted };
    for (int i = 0; words && i < words->count; i++)
        text_addf(joined, "%s%s", i ? " " : "", words->items[i]);
    out->words = text_string(joined);
    for (int i = 0; i < a->where.count && i <= GALLERY_MOST_FILTERS; i++) /* one too many is refused by the gallery, not left out */
        if (i < GALLERY_MOST_FILTERS)
            out->filters[out->filter_count++] = a->where.items[i];
        else
            out->filter_count++;
}

/* "5-9" */
static bool read_range(const char *typed, int64_t *first, int64_t *last)
{
    char *end;
    if (!isdigit((unsigned char)*typed))
        return false;
    *first = strtoll(typed, &end, 10);
    if (*end != '-' || !isdigit((unsigned char)end[1]))
        return false;
    *last = strtoll(end + 1, &end, 10);
    return !*end && *last >= *first;
}

static bool add_id(int64_t **ids, size_t *count, size_t *cap, int64_t id, struct err *e)
{
    int64_t *grown = *count < MOST_IDS ? mem_grow(*ids, cap, *count + 1, sizeof *grown) : NULL;
    if (!grown)
        return err_set(e, ERR_LIMIT, "more than %d pictures at once", MOST_IDS);
    *ids = grown;
    grown[(*count)++] = id;
    return true;
}

bool gallery_ids(struct store *s, const char *user, const struct option_texts *typed, int64_t **ids, size_t *count, struct err *e)
{
    size_t cap = 0;
    struct db *db = store_begin(s, STORE_READ, e);
    bool good = db != NULL;
    *ids = NULL;
    *count = 0;
    for (int i = 0; good && i < typed->count; i++) {
        int64_t id, last;
        struct err missing = { 0 };
        if (!read_range(typed->items[i], &id, &last)) {
            good = gallery_find(db, gallery_owner(user), typed->items[i], &id, e) && add_id(ids, count, &cap, id, e);
            continue;
        }
        size_t before = *count;
        for (; good && id <= last && last - id < MOST_IDS; id++) { /* those of the range that are there */
            char one[24];
            int64_t found;
            snprintf(one, sizeof one, "%lld", (long long)id);
            err_clear(&missing);
            if (gallery_find(db, gallery_owner(user), one, &found, &missing) && found == id)
                good = add_id(ids, count, &cap, id, e);
            else if (missing.code != ERR_MISSING && missing.code != ERR_NONE && missing.code != ERR_ARG)
                good = err_set(e, missing.code, "%s", missing.text);
        }
        if (good && *count == before)
            good = err_set(e, ERR_MISSING, "no picture %s in the gallery", typed->items[i]);
    }
    return store_end(db, good, e);
}

bool gallery_print(json_t *o, struct err *e)
{
    return json_line(json_incref(o), JSON_COMPACT, e);
}

bool gallery_print_new(json_t *o, struct err *e)
{
    bool good = gallery_print(o, e);
    json_decref(o);
    return good;
}
