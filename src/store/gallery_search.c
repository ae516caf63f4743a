/* Searching: a query becomes one SELECT, whose text is made of our own pieces and whose values are what people said. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json_text.h"
#include "store/gallery_internal.h"

enum { PAGE = 60, PAGE_MOST = 1000, SQL_TEXT_BYTES = 60000, DAY_MS = 86400000, FEW = 200 };

const struct gallery_column gallery_columns[] = {
    { "id", GALLERY_WHOLE, "its number", "p.id" },
    { "hash", GALLERY_TEXT, "SHA-256 of the file", "p.hash" },
    { "type", GALLERY_TEXT, "the file's ending", "p.type" },
    { "bytes", GALLERY_WHOLE, "of the file", "p.bytes" },
    { "width", GALLERY_WHOLE, "pixels", "p.width" },
    { "height", GALLERY_WHOLE, "pixels", "p.height" },
    { "created", GALLERY_TIME, "when it was made", "p.created_ms" },
    { "added", GALLERY_TIME, "when it came into the gallery", "p.added_ms" },
    { "prompt", GALLERY_TEXT, "the words", "t.prompt" },
    { "negative", GALLERY_TEXT, "the words for what should not be in it", "t.negative" },
    { "model", GALLERY_TEXT, "name of the model", "p.model" },
    { "model_hash", GALLERY_TEXT, "its hash, or the beginning of it", "p.model_hash" },
    { "vae", GALLERY_TEXT, "name of the VAE, if not the model's", "p.vae" },
    { "sampler", GALLERY_TEXT, "how steps were taken", "p.sampler" },
    { "schedule", GALLERY_TEXT, "which noise levels they went through", "p.schedule" },
    { "steps", GALLERY_WHOLE, "how many", "p.steps" },
    { "clip_skip", GALLERY_WHOLE, "last layers of the text encoder left out", "p.clip_skip" },
    { "cfg", GALLERY_REAL, "guidance", "p.cfg" },
    { "strength", GALLERY_REAL, "how much of another picture was drawn anew", "p.strength" },
    { "seed", GALLERY_SEED, "of its noise", "p.seed" },
    { "rating", GALLERY_WHOLE, "0 to 5", "p.rating" },
    { "name", GALLERY_TEXT, "the file's name where it came from", "p.name" },
    { "source", GALLERY_TEXT, "how it came into the gallery: generate, job, import", "p.source" },
    { "job", GALLERY_TEXT, "id of the job that made it", "p.job" },
    { "tag", GALLERY_LABEL, "tags", "picture_labels WHERE kind = 0 AND name" },
    { "collection", GALLERY_LABEL, "collections", "picture_labels WHERE kind = 1 AND name" },
    { "lora", GALLERY_LABEL, "LoRAs by name", "picture_loras WHERE name" },
    { 0 },
};

const char *const gallery_sort_names[] = { "latest", "oldest", "created", "rating", NULL };

/* A statement that grows, with its values; texts that were made for it are kept until it has run. */
struct select {
    struct text sql;
    struct sql_value values[SQL_MOST_VALUES];
    size_t count;
    struct text made[GALLERY_MOST_TERMS + 2 * GALLERY_MOST_FILTERS + 4];
    size_t made_count;
    bool texts; /* a condition asks for picture_texts */
};

static void select_init(struct select *q)
{
    *q = (struct select){ 0 };
    text_init(&q->sql, SQL_TEXT_BYTES);
}

static void select_release(struct select *q)
{
    text_release(&q->sql);
    for (size_t i = 0; i < q->made_count; i++)
        text_release(&q->made[i]);
}

/* Whether everything that was added found room. */
static bool select_ok(const struct select *q, struct err *e)
{
    for (size_t i = 0; i < q->made_count; i++)
        if (!text_ok(&q->made[i], e))
            return false;
    return text_ok(&q->sql, e);
}

/* Adds a value and its name, "$7". */
static void add_value(struct select *q, struct sql_value v)
{
    q->values[q->count++] = v; /* terms and filters are bounded: at most two each, and a few more */
    text_addf(&q->sql, "$%zu", q->count);
}

static struct text *make_text(struct select *q)
{
    struct text *t = &q->made[q->made_count++];
    text_init(t, SQL_TEXT_BYTES);
    return t;
}

/* %text% for LIKE, whose signs lose their meaning. */
static void add_like(struct select *q, const char *before, const char *text, const char *behind)
{
    struct text *t = make_text(q);
    text_addf(t, "%%%s", before);
    for (; *text; text++)
        text_addf(t, strchr("%_\\", *text) ? "\\%c" : "%c", *text);
    text_addf(t, "%s%%", behind);
    add_value(q, sql_text(text_string(t)));
    text_add(&q->sql, " ESCAPE '\\'");
}

/* --- words --- */

/* A term in FTS5's language: a phrase, its quotes doubled. */
static void add_phrase(struct text *out, const struct term *term)
{
    text_add(out, "\"");
    for (const char *p = term->text; *p; p++)
        text_addf(out, *p == '"' ? "\"\"" : "%c", *p);
    text_add(out, term->begins ? "\" *" : "\"");
}

/* All terms of one kind as one MATCH, NULL if there is none: those that must be there, and NOT those that must not. *without: there are
 * only such that must not, which FTS5 cannot say; then they are joined by OR, and none of the rows may be it. */
static struct text *match_text(struct select *q, const struct term *terms, size_t count, bool words, bool *without)
{
    struct text *match = NULL;
    const char *before = "(";
    *without = true;
    for (size_t i = 0; i < count; i++)
        *without &= terms[i].words != words || terms[i].without;
    for (int turn = 0; turn < 2; turn++, before = ") NOT (")
        for (size_t i = 0; i < count; i++)
            if (terms[i].words == words && terms[i].without == (turn == 1)) {
                match = match ? match : make_text(q);
                text_add(match, match->length ? before : "(");
                add_phrase(match, &terms[i]);
                before = turn ? " OR " : " AND ";
            }
    if (match)
        text_add(match, ")");
    return match;
}

/* FROM and the conditions of the words. plain: pictures' texts are compared one by one (PostgreSQL has indexes for that). Else
 * SQLite's full text leads, in the order of ids; *lead is the column to sort by then. */
static void add_from(struct select *q, bool plain, const struct term *terms, size_t count, const char **lead)
{
    *lead = "p.id";
    if (plain) {
        text_addf(&q->sql, " FROM pictures p%s WHERE 1 = 1", q->texts || count ? " JOIN picture_texts t ON t.id = p.id" : "");
        for (size_t i = 0; i < count; i++) {
            text_addf(&q->sql, " AND t.%s %sLIKE ", terms[i].words ? "words" : "body", terms[i].without ? "NOT " : "");
            add_like(q, terms[i].words ? " " : "", terms[i].text, terms[i].words && !terms[i].begins ? " " : "");
        }
        return;
    }
    static const char *const tables[] = { "picture_parts", "picture_words" };
    const char *texts = q->texts ? " JOIN picture_texts t ON t.id = p.id" : "";
    const struct text *match[2];
    bool without[2];
    for (int words = 0; words < 2; words++)
        match[words] = match_text(q, terms, count, words, &without[words]);
    int leader = match[0] && !without[0] ? 0 : match[1] && !without[1] ? 1 : -1;
    if (leader < 0)
        text_addf(&q->sql, " FROM pictures p%s WHERE 1 = 1", texts);
    else {
        text_addf(&q->sql, " FROM %s f CROSS JOIN pictures p ON p.id = f.rowid%s WHERE f.%s MATCH ", tables[leader], texts, tables[leader]);
        add_value(q, sql_text(text_string(match[leader])));
        *lead = "f.rowid";
    }
    for (int words = 0; words < 2; words++)
        if (match[words] && words != leader) {
            text_addf(&q->sql, " AND p.id %sIN (SELECT rowid FROM %s WHERE %s MATCH ", without[words] ? "NOT " : "", tables[words], tables[words]);
            add_value(q, sql_text(text_string(match[words])));
            text_add(&q->sql, ")");
        }
}

/* --- filters --- */

/* The longer ones first: they are looked for in this order. */
static const char *const operators[] = { ">=", "<=", "!=", "=", ">", "<", "~", NULL };

static const struct gallery_column *column_named(const char *name, size_t bytes)
{
    for (const struct gallery_column *c = gallery_columns; c->name; c++)
        if (strlen(c->name) == bytes && !strncmp(c->name, name, bytes))
            return c;
    return NULL;
}

static bool bad_filter(const char *filter, const char *why, struct err *e)
{
    struct text names;
    text_init(&names, 2000);
    for (const struct gallery_column *c = gallery_columns; c->name; c++)
        text_addf(&names, "%s%s", c == gallery_columns ? "" : ", ", c->name);
    err_set(e, ERR_ARG, "the filter \"%.100s\": %s; a filter is NAME, one of = != >= <= > < ~ (contains), and a value; names are %s", filter,
            why, text_string(&names));
    text_release(&names);
    return false;
}

/* "2026-01-31", "2026-01-31T12:00:00Z" or "2026-01-31 12:00" in UTC, or ms since 1970. *span: how long it lasts. */
static bool read_time(const char *text, int64_t *ms, int64_t *span)
{
    struct tm t = { 0 };
    int used = 0;
    char *end;
    if (strchr(text, '-') && sscanf(text, "%4d-%2d-%2d%n", &t.tm_year, &t.tm_mon, &t.tm_mday, &used) == 3) {
        *span = DAY_MS;
        const char *rest = text + used;
        if ((*rest == 'T' || *rest == ' ') && sscanf(rest + 1, "%2d:%2d%n", &t.tm_hour, &t.tm_min, &used) == 2) {
            *span = 60000;
            rest += 1 + used;
            if (*rest == ':' && sscanf(rest + 1, "%2d%n", &t.tm_sec, &used) == 1) {
                *span = 1000;
                rest += 1 + used;
            }
        }
        t.tm_year -= 1900;
        t.tm_mon -= 1;
        time_t seconds = timegm(&t);
        *ms = (int64_t)seconds * 1000;
        return !*rest || !strcmp(rest, "Z");
    }
    *span = 1;
    *ms = strtoll(text, &end, 10);
    return *text && !*end;
}

static bool label_filter(struct select *q, const struct gallery_column *c, const char *op, const char *value, const char *filter,
                         struct err *e)
{
    if (strcmp(op, "=") && strcmp(op, "!=") && strcmp(op, "~"))
        return bad_filter(filter, "this takes = != and ~ only", e);
    const char *where = strrchr(c->sql, ' ') + 1;
    text_addf(&q->sql, " AND p.id %sIN (SELECT picture FROM %.*slower(%s)", op[0] == '!' ? "NOT " : "", (int)(where - c->sql), c->sql, where);
    struct text *folded = make_text(q);
    words_fold(folded, value);
    if (op[0] == '~') {
        text_add(&q->sql, " LIKE ");
        add_like(q, "", text_string(folded), "");
    } else {
        text_add(&q->sql, " = ");
        add_value(q, sql_text(text_string(folded)));
    }
    text_add(&q->sql, ")");
    return true;
}

static bool text_filter(struct select *q, const struct gallery_column *c, const char *op, const char *value)
{
    struct text *folded = make_text(q);
    words_fold(folded, value);
    if (op[0] == '!')
        text_addf(&q->sql, " AND coalesce(lower(%s), '') <> ", c->sql);
    else
        text_addf(&q->sql, " AND lower(%s) %s ", c->sql, op[0] == '~' ? "LIKE" : op);
    if (op[0] == '~')
        add_like(q, "", text_string(folded), "");
    else
        add_value(q, sql_text(text_string(folded)));
    return true;
}

static bool add_filter(struct select *q, const char *filter, struct err *e)
{
    size_t name = strcspn(filter, "=!<>~");
    const struct gallery_column *c = column_named(filter, name);
    int which = 0;
    while (operators[which] && strncmp(filter + name, operators[which], strlen(operators[which])))
        which++;
    const char *op = operators[which];
    if (!c || !op)
        return bad_filter(filter, !c && op ? "no such name" : "no such comparison", e);
    const char *value = filter + name + strlen(op);
    if (!utf8_valid(value, strlen(value)))
        return bad_filter(filter, "not valid UTF-8", e);
    if (c->value == GALLERY_LABEL)
        return label_filter(q, c, op, value, filter, e);
    if (c->value == GALLERY_TEXT)
        return text_filter(q, c, op, value);
    if (op[0] == '~')
        return bad_filter(filter, "only text contains something", e);
    char *end;
    int64_t whole = 0, span = 0;
    double real = 0;
    bool good = *value != 0;
    if (c->value == GALLERY_REAL) {
        real = strtod(value, &end);
        good = good && !*end && isfinite(real);
    } else if (c->value == GALLERY_TIME) {
        good = read_time(value, &whole, &span);
    } else {
        whole = c->value == GALLERY_SEED ? (int64_t)strtoull(value, &end, 10) : strtoll(value, &end, 10);
        good = good && !*end && (c->value != GALLERY_SEED || (isdigit((unsigned char)*value) && (op[0] == '=' || op[0] == '!')));
    }
    if (!good)
        return bad_filter(filter, c->value == GALLERY_TIME ? "want a date as 2026-01-31" : c->value == GALLERY_SEED
                          ? "a seed is a whole number, and takes = and != only" : "want a number", e);
    text_addf(&q->sql, " AND ");
    if (c->value == GALLERY_TIME && (op[0] == '=' || op[0] == '!')) {
        text_addf(&q->sql, "%s(%s >= ", op[0] == '!' ? "NOT " : "", c->sql);
        add_value(q, sql_int(whole));
        text_addf(&q->sql, " AND %s < ", c->sql);
        add_value(q, sql_int(whole + span));
        text_add(&q->sql, ")");
        return true;
    }
    if (c->value == GALLERY_TIME && (!strcmp(op, ">") || !strcmp(op, "<="))) { /* behind the day, not its first moment */
        whole += span;
        op = op[0] == '>' ? ">=" : "<";
    }
    /* The sign keeps an index from being used: one that gives most pictures, in another order, is slower than going through all. */
    text_addf(&q->sql, "%s%s %s ", op[0] == '=' ? "" : "+", c->sql, op);
    add_value(q, c->value == GALLERY_REAL ? sql_real(real) : sql_int(whole));
    return true;
}

/* --- answers --- */

/* What every answer has, in this order; then the columns' JSON is made of gallery_columns. */
static void add_columns(struct text *sql)
{
    const char *before = "";
    for (const struct gallery_column *c = gallery_columns; c->name; c++)
        if (c->value != GALLERY_LABEL) {
            text_addf(sql, "%s%s", before, c->sql);
            before = ", ";
        }
    text_add(sql, ", p.look, p.deleted, p.deleted_ms");
}

static void set_value(json_t *object, const struct gallery_column *c, const struct rows *r, int column)
{
    char digits[24];
    if (rows_is_null(r, column))
        return;
    if (c->value == GALLERY_TEXT)
        json_object_set_new(object, c->name, json_string(rows_text(r, column)));
    else if (c->value == GALLERY_REAL)
        json_object_set_new(object, c->name, json_real(rows_real(r, column)));
    else if (c->value == GALLERY_SEED && rows_int(r, column) < 0) {
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)rows_int(r, column));
        json_object_set_new(object, c->name, json_string(digits));
    } else
        json_object_set_new(object, c->name, json_integer(rows_int(r, column)));
}

/* The object of a row of add_columns. */
static json_t *row_json(const struct rows *r)
{
    json_t *object = json_object();
    int column = 0;
    char text[GALLERY_HASH_BYTES + 20];
    for (const struct gallery_column *c = gallery_columns; object && c->name; c++)
        if (c->value != GALLERY_LABEL)
            set_value(object, c, r, column++);
    const char *hash = json_string_value(json_object_get(object, "hash")), *type = json_string_value(json_object_get(object, "type"));
    snprintf(text, sizeof text, "%.2s/%s.%s", hash ? hash : "", hash ? hash : "", type ? type : "");
    json_object_set_new(object, "file", json_string(text));
    if (!rows_is_null(r, column)) {
        snprintf(text, sizeof text, "%016llx", (unsigned long long)rows_int(r, column));
        json_object_set_new(object, "look", json_string(text));
    }
    if (!rows_is_null(r, column + 1)) {
        json_object_set_new(object, "deletion", json_integer(rows_int(r, column + 1)));
        json_object_set_new(object, "deleted", json_integer(rows_int(r, column + 2)));
    }
    return object;
}

/* The object of a page with this id; pages are short and both are in order of a picture's rows. */
static json_t *object_of(const json_t *page, int64_t id)
{
    json_t *object;
    size_t i;
    json_array_foreach(page, i, object) {
        if (json_integer_value(json_object_get(object, "id")) == id)
            return object;
    }
    return NULL;
}

/* Tags, collections and LoRAs of all pictures of a page: a question each, whatever the page's length. */
static bool add_labels(struct db *db, const json_t *page, struct err *e)
{
    static const char *const keys[] = { [LABEL_TAG] = "tags", [LABEL_COLLECTION] = "collections" };
    struct text ids, sql;
    struct rows r;
    json_t *object;
    size_t i;
    text_init(&ids, SQL_TEXT_BYTES);
    text_init(&sql, 2 * SQL_TEXT_BYTES);
    json_array_foreach(page, i, object) {
        text_addf(&ids, "%s%lld", i ? "," : "", (long long)json_integer_value(json_object_get(object, "id")));
        json_object_set_new(object, "tags", json_array());
        json_object_set_new(object, "collections", json_array());
        json_object_set_new(object, "loras", json_array());
    }
    if (!ids.length)
        return true;
    text_addf(&sql, "SELECT picture, kind, name FROM picture_labels WHERE picture IN (%s) ORDER BY picture, kind, name", text_string(&ids));
    for (rows_open_text(&r, db, text_string(&sql), SQL_NO_VALUES); rows_next(&r);)
        json_array_append_new(json_object_get(object_of(page, rows_int(&r, 0)), keys[rows_int(&r, 1) == LABEL_COLLECTION]),
                              json_string(rows_text(&r, 2)));
    bool good = rows_close(&r, e);
    text_clear(&sql);
    text_addf(&sql, "SELECT picture, name, hash, scale, text_scale FROM picture_loras WHERE picture IN (%s) ORDER BY picture, place",
              text_string(&ids));
    for (rows_open_text(&r, db, text_string(&sql), SQL_NO_VALUES); good && rows_next(&r);)
        json_array_append_new(json_object_get(object_of(page, rows_int(&r, 0)), "loras"),
                              json_pack("{s:s,s:s?,s:f,s:f}", "name", rows_text(&r, 1), "hash", rows_text(&r, 2), "scale", rows_real(&r, 3),
                                        "text_scale", rows_real(&r, 4)));
    good = rows_close(&r, e) && good && text_ok(&ids, e) && text_ok(&sql, e);
    text_release(&ids);
    text_release(&sql);
    return good;
}

/* Rows of add_columns (and with `distance` one more) as a page. */
static bool read_page(struct db *db, const struct select *q, bool distance, json_t **page, struct err *e)
{
    struct rows r;
    int last = 0;
    json_t *list = json_array(), *object;
    for (const struct gallery_column *c = gallery_columns; c->name; c++)
        last += c->value != GALLERY_LABEL;
    for (rows_open_text(&r, db, text_string(&q->sql), q->values, q->count); rows_next(&r);) {
        object = row_json(&r);
        if (object && distance)
            json_object_set_new(object, "distance", json_integer(rows_int(&r, last + 3)));
        json_array_append_new(list, object);
    }
    bool good = rows_close(&r, e) && add_labels(db, list, e);
    if (good && list)
        *page = list;
    else
        json_decref(list);
    return good && (list || err_nomem(e, "a page of the gallery"));
}

/* Whose, deleted or not, and the filters. */
static bool add_conditions(struct select *q, const struct gallery_query *query, struct err *e)
{
    text_add(&q->sql, " AND p.owner = ");
    add_value(q, sql_text(query->owner ? query->owner : ""));
    text_addf(&q->sql, " AND p.deleted IS %sNULL", query->deleted ? "NOT " : "");
    for (size_t i = 0; i < query->filter_count; i++)
        if (!add_filter(q, query->filters[i], e))
            return false;
    return true;
}

static bool asks_texts(const struct gallery_query *query)
{
    bool texts = false;
    for (size_t i = 0; i < query->filter_count; i++) {
        const struct gallery_column *c = column_named(query->filters[i], strcspn(query->filters[i], "=!<>~"));
        texts |= c && c->sql[0] == 't';
    }
    return texts;
}

/* Whether the filters leave so few pictures that their texts are quickly compared, where a common word leads to very many. */
static bool filters_leave_few(struct db *db, const struct gallery_query *query, bool *few, struct err *e)
{
    struct select q;
    struct rows r;
    select_init(&q);
    text_addf(&q.sql, "SELECT count(*) FROM (SELECT 1 FROM pictures p%s WHERE 1 = 1", asks_texts(query) ? " JOIN picture_texts t ON t.id = p.id" : "");
    bool good = add_conditions(&q, query, e);
    text_addf(&q.sql, " LIMIT %d) n", FEW);
    good = good && select_ok(&q, e);
    if (good) {
        for (rows_open_text(&r, db, text_string(&q.sql), q.values, q.count); rows_next(&r);)
            *few = rows_int(&r, 0) < FEW;
        good = rows_close(&r, e);
    }
    select_release(&q);
    return good;
}

/* FROM, WHERE and nothing behind it. */
static bool add_query(struct select *q, struct db *db, const struct gallery_query *query, const char **lead, struct err *e)
{
    struct term terms[GALLERY_MOST_TERMS];
    size_t count = 0;
    bool plain = sql_is_postgresql(db);
    if (query->words && !utf8_valid(query->words, strlen(query->words)))
        return err_set(e, ERR_ARG, "the words of a search are not valid UTF-8");
    if (query->filter_count > GALLERY_MOST_FILTERS)
        return err_set(e, ERR_ARG, "more than %d filters", GALLERY_MOST_FILTERS);
    if (query->words && !terms_read(terms, &count, query->words, e))
        return false;
    bool good = plain || !count || !query->filter_count || filters_leave_few(db, query, &plain, e);
    q->texts = asks_texts(query);
    if (good)
        add_from(q, plain, terms, count, lead);
    terms_release(terms, count);
    return good && add_conditions(q, query, e);
}

bool gallery_search(struct store *s, const struct gallery_query *query, json_t **page, struct err *e)
{
    struct select q;
    const char *lead;
    int64_t limit = query->limit > 0 ? query->limit : PAGE;
    struct db *db = store_begin(s, STORE_READ, e);
    if (!db)
        return false;
    select_init(&q);
    /* which pictures, by what is narrow; then what is told of them */
    bool by_id = query->sort == GALLERY_LATEST || query->sort == GALLERY_OLDEST, good;
    const char *key = query->sort == GALLERY_RATING ? "p.rating" : "p.created_ms";
    text_add(&q.sql, "SELECT ");
    add_columns(&q.sql);
    text_addf(&q.sql, " FROM (SELECT p.id AS id%s%s", by_id ? "" : ", ", by_id ? "" : key);
    text_add(&q.sql, by_id ? "" : " AS key");
    good = add_query(&q, db, query, &lead, e);
    if (good && by_id && query->before > 0) {
        text_addf(&q.sql, " AND %s %s ", lead, query->sort == GALLERY_OLDEST ? ">" : "<");
        add_value(&q, sql_int(query->before));
    }
    if (good && by_id)
        text_addf(&q.sql, " ORDER BY %s %s LIMIT ", lead, query->sort == GALLERY_OLDEST ? "ASC" : "DESC");
    else if (good)
        text_addf(&q.sql, " ORDER BY %s DESC, p.id DESC LIMIT ", key);
    add_value(&q, sql_int(limit < PAGE_MOST ? limit : PAGE_MOST));
    text_add(&q.sql, " OFFSET ");
    add_value(&q, sql_int(query->offset > 0 ? query->offset : 0));
    text_addf(&q.sql, ") n JOIN pictures p ON p.id = n.id JOIN picture_texts t ON t.id = p.id ORDER BY %s",
              query->sort == GALLERY_OLDEST ? "n.id" : by_id ? "n.id DESC" : "n.key DESC, n.id DESC");
    good = good && select_ok(&q, e) && read_page(db, &q, false, page, e);
    select_release(&q);
    if (store_end(db, good, e))
        return true;
    if (good)
        json_decref(*page);
    return false;
}

bool gallery_all(struct store *s, const struct gallery_query *query, json_t **ids, struct err *e)
{
    struct select q;
    struct rows r;
    const char *lead;
    struct db *db = store_begin(s, STORE_READ, e);
    json_t *list = db ? json_array() : NULL;
    if (!db)
        return false;
    select_init(&q);
    text_add(&q.sql, "SELECT p.id AS id");
    bool good = (list || err_nomem(e, "a list of pictures")) && add_query(&q, db, query, &lead, e);
    if (query->sort == GALLERY_LATEST || query->sort == GALLERY_OLDEST)
        text_addf(&q.sql, " ORDER BY %s %s LIMIT ", good ? lead : "", query->sort == GALLERY_OLDEST ? "ASC" : "DESC");
    else
        text_addf(&q.sql, " ORDER BY %s DESC, p.id DESC LIMIT ", query->sort == GALLERY_RATING ? "p.rating" : "p.created_ms");
    add_value(&q, sql_int(GALLERY_MOST_IDS));
    if (good && (good = select_ok(&q, e))) {
        for (rows_open_text(&r, db, text_string(&q.sql), q.values, q.count); good && rows_next(&r);)
            good = !json_array_append_new(list, json_integer(rows_int(&r, 0))) || err_nomem(e, "a list of pictures");
        good = rows_close(&r, e) && good;
    }
    select_release(&q);
    if (store_end(db, good, e)) {
        *ids = list;
        return true;
    }
    json_decref(list);
    return false;
}

bool gallery_count(struct store *s, const struct gallery_query *query, int64_t *count, struct err *e)
{
    struct select q;
    struct rows r;
    const char *lead;
    struct db *db = store_begin(s, STORE_READ, e);
    if (!db)
        return false;
    select_init(&q);
    text_add(&q.sql, "SELECT count(*)");
    bool good = add_query(&q, db, query, &lead, e) && select_ok(&q, e);
    if (good) {
        for (rows_open_text(&r, db, text_string(&q.sql), q.values, q.count); rows_next(&r);)
            *count = rows_int(&r, 0);
        good = rows_close(&r, e);
    }
    select_release(&q);
    return store_end(db, good, e);
}

bool gallery_similar(struct store *s, const char *owner, uint64_t look, int most_distance, int64_t limit, json_t **page, struct err *e)
{
    struct select q;
    struct db *db = store_begin(s, STORE_READ, e);
    if (!db)
        return false;
    bool other = sql_is_postgresql(db);
    select_init(&q);
    text_add(&q.sql, "SELECT ");
    add_columns(&q.sql);
    text_addf(&q.sql, ", n.apart FROM (SELECT id, apart FROM (SELECT id, %s", other ? "bit_count((look # " : "bits_apart(look, ");
    add_value(&q, sql_int((int64_t)look));
    text_addf(&q.sql, "%s AS apart FROM pictures WHERE owner = ", other ? ")::bit(64))" : ")");
    add_value(&q, sql_text(owner));
    text_add(&q.sql, " AND deleted IS NULL AND look IS NOT NULL) every WHERE apart <= ");
    add_value(&q, sql_int(most_distance));
    text_add(&q.sql, " ORDER BY apart, id DESC LIMIT ");
    add_value(&q, sql_int(limit > 0 && limit < PAGE_MOST ? limit : PAGE));
    text_add(&q.sql, ") n JOIN pictures p ON p.id = n.id JOIN picture_texts t ON t.id = p.id ORDER BY n.apart, p.id DESC");
    bool good = text_ok(&q.sql, e) && read_page(db, &q, true, page, e);
    select_release(&q);
    if (store_end(db, good, e))
        return true;
    if (good)
        json_decref(*page);
    return false;
}

bool gallery_names(struct store *s, const char *owner, const char *column, int64_t limit, json_t **names, struct err *e)
{
    struct rows r;
    struct text sql;
    const struct gallery_column *c = column_named(column, strlen(column));
    if (!c || (c->value != GALLERY_TEXT && c->value != GALLERY_LABEL))
        return err_set(e, ERR_ARG, "%.40s is no text of pictures whose values can be listed", column);
    text_init(&sql, 2000);
    if (c->value == GALLERY_LABEL) {
        const char *name = strrchr(c->sql, ' ') + 1, *where = strstr(c->sql, " WHERE ");
        text_addf(&sql, "SELECT l.%s, count(DISTINCT l.picture) FROM %.*s l JOIN pictures p ON p.id = l.picture WHERE p.owner = $1 AND "
                  "p.deleted IS NULL%s%.*s GROUP BY l.%s", name, (int)(where - c->sql), c->sql, strstr(where, "kind") ? " AND l." : "",
                  strstr(where, "kind") ? 8 : 0, strstr(where, "kind") ? strstr(where, "kind") : "", name);
    } else {
        text_addf(&sql, "SELECT %s, count(*) FROM pictures p JOIN picture_texts t ON t.id = p.id WHERE p.owner = $1 AND p.deleted IS NULL "
                  "AND %s IS NOT NULL GROUP BY %s", c->sql, c->sql, c->sql);
    }
    text_add(&sql, " ORDER BY 2 DESC, 1 LIMIT $2");
    struct db *db = text_ok(&sql, e) ? store_begin(s, STORE_READ, e) : NULL;
    json_t *list = json_array();
    bool good = db != NULL;
    if (good) {
        for (rows_open_text(&r, db, text_string(&sql), SQL_VALUES(sql_text(owner), sql_int(limit > 0 ? limit : PAGE_MOST))); rows_next(&r);)
            json_array_append_new(list, json_pack("{s:s,s:I}", "name", rows_text(&r, 0), "count", (json_int_t)rows_int(&r, 1)));
        good = rows_close(&r, e) && (list || err_nomem(e, "a list"));
    }
    text_release(&sql);
    good = store_end(db, good, e);
    if (good)
        *names = list;
    else
        json_decref(list);
    return good;
}

bool gallery_each(struct store *s, const struct gallery_query *query, bool (*take)(void *self, const json_t *picture, struct err *e),
                  void *self, struct err *e)
{
    enum { AT_ONCE = 200 };
    struct gallery_query page = *query;
    int64_t left = query->limit > 0 ? query->limit : INT64_MAX;
    for (size_t found = AT_ONCE; found == AT_ONCE && left > 0;) {
        json_t *list;
        const json_t *one;
        size_t i;
        bool good = true;
        page.limit = left < AT_ONCE ? left : AT_ONCE;
        if (!gallery_search(s, &page, &list, e))
            return false;
        found = json_array_size(list);
        json_array_foreach(list, i, one) {
            good = good && take(self, one, e);
            page.before = json_integer_value(json_object_get(one, "id"));
        }
        json_decref(list);
        if (!good)
            return false;
        left -= (int64_t)found;
        page.offset += (int64_t)found;
        if (page.sort == GALLERY_LATEST || page.sort == GALLERY_OLDEST)
            page.offset = 0; /* the next page goes on behind an id */
        else
            page.before = query->before;
    }
    return true;
}

json_t *picture_json(struct db *db, int64_t id, bool everything, struct err *e)
{
    static const char *const names[] = { "graph", "workflow", "parameters" };
    struct select q;
    struct rows r;
    json_t *object = NULL, *page = NULL, *parents = everything ? json_array() : NULL;
    select_init(&q);
    text_add(&q.sql, "SELECT ");
    add_columns(&q.sql);
    text_add(&q.sql, " FROM pictures p JOIN picture_texts t ON t.id = p.id WHERE p.id = ");
    add_value(&q, sql_int(id));
    rows_open_text(&r, db, text_string(&q.sql), q.values, q.count);
    if (rows_next(&r))
        object = row_json(&r);
    bool good = rows_close(&r, e) && (object || err_set(e, ERR_MISSING, "no picture %lld in the gallery", (long long)id)) &&
                (page = json_pack("[O]", object)) && add_labels(db, page, e);
    json_decref(page);
    select_release(&q);
    if (good && everything) {
        for (rows_open(&r, db, SQL_PICTURE_SOURCES, SQL_VALUES(sql_int(id))); rows_next(&r);)
            for (int i = 0; i < 3; i++)
                if (!rows_is_null(&r, i))
                    json_object_set_new(object, names[i], json_string(rows_text(&r, i)));
        good = rows_close(&r, e);
        for (rows_open(&r, db, SQL_PICTURE_PARENTS, SQL_VALUES(sql_int(id))); rows_next(&r);)
            json_array_append_new(parents, json_string(rows_text(&r, 0)));
        good = rows_close(&r, e) && good;
        json_object_set(object, "parents", parents);
    }
    json_decref(parents);
    if (good)
        return object;
    json_decref(object);
    return NULL;
}

bool gallery_get(struct store *s, const char *owner, const char *which, json_t **picture, struct err *e)
{
    int64_t id;
    struct db *db = store_begin(s, STORE_READ, e);
    json_t *object = db && gallery_find(db, owner, which, &id, e) ? picture_json(db, id, true, e) : NULL;
    if (store_end(db, object != NULL, e)) {
        *picture = object;
        return true;
    }
    json_decref(object);
    return false;
}
