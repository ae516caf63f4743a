/* What the queue tells of its jobs, in the forms of ComfyUI's routes. Prompts and results are put into the answers as they are kept. */
#include <stdio.h>
#include <string.h>

#include "base/json_text.h"
#include "jobs/queue_internal.h"

/* Columns of JOBS_HISTORY, JOB_GET and queue_jobs. */
enum { ID, NUMBER, PROMPT, EXTRA, TARGETS, STATE, OUTPUTS, META, MESSAGES, CREATED, STARTED, ENDED, ERROR, WORKFLOW };
#define JOB_COLUMNS \
    "id, number, prompt, extra, targets, state, outputs, meta, messages, created_ms, started_ms, ended_ms, error, workflow"

static const char *text_or(const struct rows *r, int column, const char *otherwise)
{
    const char *text = rows_text(r, column);
    return text ? text : otherwise;
}

static void add_number(struct text *out, double number)
{
    if (number == (double)(int64_t)number)
        text_addf(out, "%lld", (long long)number);
    else
        text_addf(out, "%.17g", number);
}

/* Q: [number, id, prompt, extra_data, targets] */
static void add_queued(struct text *out, double number, const char *id, const char *prompt, const char *extra, const char *targets)
{
    text_add(out, "[");
    add_number(out, number);
    text_add(out, ",");
    json_text_string(out, id);
    text_addf(out, ",");
    text_add(out, prompt);
    text_add(out, ",");
    text_add(out, extra);
    text_add(out, ",");
    text_add(out, targets);
    text_add(out, "]");
}

bool queue_list(struct queue *q, const char *owner, struct text *out, struct err *e)
{
    struct rows r;
    int before = -1;
    struct db *db = store_begin(q->options.store, STORE_READ, e);
    if (!db)
        return false;
    text_add(out, "{\"queue_running\":[");
    for (rows_open(&r, db, SQL_JOBS_QUEUED, SQL_VALUES(sql_text(owner))); rows_next(&r);) {
        int state = (int)rows_int(&r, 5); /* running ones come first */
        if (state == JOB_PENDING && before != JOB_PENDING)
            text_add(out, "],\"queue_pending\":[");
        else if (before >= 0)
            text_add(out, ",");
        before = state;
        add_queued(out, rows_real(&r, 0), rows_text(&r, 1), rows_text(&r, 2), rows_text(&r, 3), rows_text(&r, 4));
    }
    text_add(out, before == JOB_PENDING ? "]}" : "],\"queue_pending\":[]}");
    bool good = rows_close(&r, e);
    return store_end(db, good, e) && text_ok(out, e);
}

static void add_status(struct text *out, const struct rows *r)
{
    bool completed = rows_int(r, STATE) == JOB_COMPLETED;
    text_addf(out, "{\"status_str\":\"%s\",\"completed\":%s,\"messages\":", completed ? "success" : "error", completed ? "true" : "false");
    text_add(out, text_or(r, MESSAGES, "[]"));
    text_add(out, "}");
}

/* "id": H */
static void add_history(struct text *out, const struct rows *r)
{
    json_text_string(out, rows_text(r, ID));
    text_add(out, ":{\"prompt\":");
    add_queued(out, rows_real(r, NUMBER), rows_text(r, ID), rows_text(r, PROMPT), rows_text(r, EXTRA), rows_text(r, TARGETS));
    text_add(out, ",\"outputs\":");
    text_add(out, text_or(r, OUTPUTS, "{}"));
    text_add(out, ",\"status\":");
    add_status(out, r);
    text_add(out, ",\"meta\":");
    text_add(out, text_or(r, META, "{}"));
    text_add(out, "}");
}

bool queue_history(struct queue *q, const char *owner, int64_t most, int64_t offset, struct text *out, struct err *e)
{
    struct rows r;
    int64_t count = 0;
    bool first = true;
    struct db *db = store_begin(q->options.store, STORE_READ, e);
    bool good = db != NULL;
    if (good && offset < 0) {
        for (rows_open(&r, db, SQL_JOBS_HISTORY_COUNT, SQL_VALUES(sql_text(owner))); rows_next(&r);)
            count = rows_int(&r, 0);
        good = rows_close(&r, e);
        offset = most >= 0 && count > most ? count - most : 0;
    }
    text_add(out, "{");
    if (good) {
        for (rows_open(&r, db, SQL_JOBS_HISTORY, SQL_VALUES(sql_text(owner), sql_int(most < 0 ? INT64_MAX : most), sql_int(offset)));
             rows_next(&r); first = false) {
            text_add(out, first ? "" : ",");
            add_history(out, &r);
        }
        good = rows_close(&r, e);
    }
    text_add(out, "}");
    return store_end(db, good, e) && text_ok(out, e);
}

bool queue_history_of(struct queue *q, const char *owner, const char *id, struct text *out, struct err *e)
{
    struct rows r;
    struct db *db = store_begin(q->options.store, STORE_READ, e);
    if (!db)
        return false;
    text_add(out, "{");
    for (rows_open(&r, db, SQL_JOB_GET, SQL_VALUES(sql_text(id), sql_text(owner))); rows_next(&r);)
        if (rows_int(&r, STATE) >= JOB_COMPLETED)
            add_history(out, &r);
    text_add(out, "}");
    bool good = rows_close(&r, e);
    return store_end(db, good, e) && text_ok(out, e);
}

/* --- GET /jobs --- */

static bool is_previewable(const char *kind)
{
    return !strcmp(kind, "images") || !strcmp(kind, "video") || !strcmp(kind, "audio") || !strcmp(kind, "3d");
}

/* What the outputs hold: how many files, how many that can be shown, and the one to show, preferably one that is kept. */
static void add_outputs(struct text *out, const char *outputs)
{
    struct err ignored = { 0 };
    json_t *all = outputs ? json_text_tree(outputs, "outputs", &ignored) : NULL, *node, *files, *file, *best = NULL;
    const char *id, *kind;
    int count = 0, shown = 0;
    bool kept = false;
    json_object_foreach(all, id, node) {
        json_object_foreach(node, kind, files) {
            size_t i;
            json_array_foreach(files, i, file) {
                if (!json_is_object(file))
                    continue;
                count++;
                if (!is_previewable(kind))
                    continue;
                shown++;
                const char *type = json_string_value(json_object_get(file, "type"));
                bool keeps = type && !strcmp(type, "output");
                if (best && (kept || !keeps))
                    continue;
                json_decref(best);
                best = json_copy(file);
                json_object_set_new(best, "nodeId", json_string(id));
                json_object_set_new(best, "mediaType", json_string(kind));
                kept = keeps;
            }
        }
    }
    text_addf(out, ",\"outputs_count\":%d,\"previewable_outputs_count\":%d", count, shown);
    char *preview = best ? json_dumps(best, JSON_COMPACT) : NULL;
    if (preview) {
        text_add(out, ",\"preview_output\":");
        text_add(out, preview);
    }
    free(preview);
    json_decref(best);
    json_decref(all);
}

/* J, without its end. */
static void add_job(struct text *out, const struct rows *r)
{
    static const struct {
        int column;
        const char *name;
    } times[] = { { CREATED, "create_time" }, { STARTED, "execution_start_time" }, { ENDED, "execution_end_time" } };
    text_add(out, "{\"id\":");
    json_text_string(out, rows_text(r, ID));
    text_addf(out, ",\"status\":\"%s\",\"priority\":", job_state_names[rows_int(r, STATE)]);
    add_number(out, rows_real(r, NUMBER));
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (!rows_is_null(r, times[i].column))
            text_addf(out, ",\"%s\":%lld", times[i].name, (long long)rows_int(r, times[i].column));
    if (!rows_is_null(r, ERROR)) {
        text_add(out, ",\"execution_error\":");
        text_add(out, rows_text(r, ERROR));
    }
    add_outputs(out, rows_text(r, OUTPUTS));
    if (!rows_is_null(r, WORKFLOW)) {
        text_add(out, ",\"workflow_id\":");
        json_text_string(out, rows_text(r, WORKFLOW));
    }
}

/* The condition of a query; $1 is the owner, $2 the workflow. */
static void add_where(struct text *sql, const struct job_query *query)
{
    text_add(sql, " FROM jobs WHERE ($1 IS NULL OR owner = $1) AND ($2 IS NULL OR workflow = $2)");
    if (!query->states)
        return;
    const char *before = " AND state IN (";
    for (int state = 0; state < JOB_STATES; state++)
        if (query->states & 1U << state) {
            text_addf(sql, "%s%d", before, state);
            before = ", ";
        }
    text_add(sql, ")");
}

bool queue_jobs(struct queue *q, const struct job_query *query, struct text *out, struct err *e)
{
    struct text count_sql, sql;
    struct rows r;
    int64_t total = 0, found = 0, limit = query->limit > 0 ? query->limit : INT64_MAX, offset = query->offset > 0 ? query->offset : 0;
    const char *direction = query->ascending ? "ASC" : "DESC";
    text_init(&count_sql, 4000);
    text_init(&sql, 4000);
    text_add(&count_sql, "SELECT count(*)");
    add_where(&count_sql, query);
    text_add(&sql, "SELECT " JOB_COLUMNS);
    add_where(&sql, query);
    if (query->by_duration)
        text_addf(&sql, " ORDER BY coalesce(ended_ms - started_ms, 0) %s, sequence %s", direction, direction);
    else
        text_addf(&sql, " ORDER BY created_ms %s, sequence %s", direction, direction);
    text_add(&sql, " LIMIT $3 OFFSET $4");
    const struct sql_value values[] = { sql_text(query->owner), sql_text(query->workflow), sql_int(limit), sql_int(offset) };
    struct db *db = text_ok(&sql, e) && text_ok(&count_sql, e) ? store_begin(q->options.store, STORE_READ, e) : NULL;
    bool good = db != NULL;
    if (good) {
        for (rows_open_text(&r, db, text_string(&count_sql), values, 2); rows_next(&r);)
            total = rows_int(&r, 0);
        good = rows_close(&r, e);
    }
    text_add(out, "{\"jobs\":[");
    if (good) {
        for (rows_open_text(&r, db, text_string(&sql), values, 4); rows_next(&r); found++) {
            text_add(out, found ? "," : "");
            add_job(out, &r);
            text_add(out, "}");
        }
        good = rows_close(&r, e);
    }
    text_addf(out, "],\"pagination\":{\"offset\":%lld,\"limit\":%lld,\"total\":%lld,\"has_more\":%s}}", (long long)offset,
              (long long)(query->limit > 0 ? query->limit : total), (long long)total, offset + found < total ? "true" : "false");
    text_release(&count_sql);
    text_release(&sql);
    return store_end(db, good, e) && text_ok(out, e);
}

bool queue_job(struct queue *q, const char *owner, const char *id, struct text *out, struct err *e)
{
    struct rows r;
    bool found = false;
    struct db *db = store_begin(q->options.store, STORE_READ, e);
    if (!db)
        return false;
    for (rows_open(&r, db, SQL_JOB_GET, SQL_VALUES(sql_text(id), sql_text(owner))); rows_next(&r);) {
        found = true;
        add_job(out, &r);
        text_add(out, ",\"outputs\":");
        text_add(out, text_or(&r, OUTPUTS, "{}"));
        text_add(out, ",\"execution_status\":");
        add_status(out, &r);
        text_add(out, ",\"workflow\":{\"prompt\":");
        text_add(out, rows_text(&r, PROMPT));
        text_add(out, ",\"extra_data\":");
        text_add(out, rows_text(&r, EXTRA));
        text_add(out, "}}");
    }
    bool good = rows_close(&r, e);
    return store_end(db, good, e) && (found || err_set(e, ERR_MISSING, "no job %s", id)) && text_ok(out, e);
}
