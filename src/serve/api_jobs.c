/* /jobs: everything that was asked for in one list, whether it waits, runs or has ended. */
#include <ctype.h>
#include <string.h>

#include "serve/server_internal.h"

#define ANSWER_MAX_BYTES ((size_t)1 << 30)

/* "pending,failed" as bits of job states. */
static bool read_states(const char *text, unsigned *states, struct err *e)
{
    *states = 0;
    for (const char *at = text; *at; at += strcspn(at, ","), at += *at == ',') {
        size_t n = strcspn(at, ",");
        int state = 0;
        while (state < JOB_STATES && (strlen(job_state_names[state]) != n || strncmp(job_state_names[state], at, n)))
            state++;
        if (state == JOB_STATES)
            return err_set(e, ERR_ARG, "status \"%.*s\" is none of pending, in_progress, completed, failed, cancelled", (int)(n < 40 ? n : 40), at);
        *states |= 1U << state;
    }
    return true;
}

bool get_jobs(struct exchange *x, struct err *e)
{
    struct job_query query = { .owner = owner_of(x) };
    char status[200], workflow[256], sort[32], order[8];
    bool has_status, has_workflow, has_sort, has_order;
    int64_t limit = -1;
    struct text t;
    if (!exchange_query(x, "status", status, sizeof status, &has_status, e) || !exchange_query(x, "workflow_id", workflow, sizeof workflow, &has_workflow, e) ||
        !exchange_query(x, "sort_by", sort, sizeof sort, &has_sort, e) || !exchange_query(x, "sort_order", order, sizeof order, &has_order, e) ||
        !exchange_query_int(x, "limit", 1, INT64_MAX, &limit, e) || !exchange_query_int(x, "offset", 0, INT64_MAX, &query.offset, e) ||
        (has_status && !read_states(status, &query.states, e)))
        return false;
    query.workflow = has_workflow && *workflow ? workflow : NULL;
    query.by_duration = has_sort && !strcmp(sort, "execution_duration");
    query.ascending = has_order && !strcmp(order, "asc");
    query.limit = limit < 0 ? 0 : limit;
    text_init(&t, ANSWER_MAX_BYTES);
    return answer_queue_text(x, &t, queue_jobs(x->server->queue, &query, &t, e), e);
}

bool get_job(struct exchange *x, struct err *e)
{
    struct text t;
    text_init(&t, ANSWER_MAX_BYTES);
    bool good = queue_job(x->server->queue, owner_of(x), x->param[0], &t, e);
    if (!good && e->code == ERR_MISSING) {
        text_release(&t);
        return answer_error(x, 404, "not_found", "Job not found");
    }
    return answer_queue_text(x, &t, good, e);
}

bool post_job_cancel(struct exchange *x, struct err *e)
{
    bool cancelled;
    return queue_cancel(x->server->queue, owner_of(x), x->param[0], &cancelled, e) && answer_json(x, 200, json_pack("{s:b}", "cancelled", cancelled), e);
}

bool is_job_uuid(const char *s)
{
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !(isdigit((unsigned char)s[i]) || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    }
    return !s[36];
}

bool post_jobs_cancel(struct exchange *x, struct err *e)
{
    const json_t *ids = json_object_get(x->json, "job_ids");
    json_t *bad = json_array();
    bool any = false, good = bad != NULL;
    for (size_t i = 0; good && i < json_array_size(ids); i++) {
        json_t *id = json_array_get(ids, i);
        if (!json_is_string(id) || !is_job_uuid(json_string_value(id)))
            json_array_append(bad, id);
    }
    if (good && json_array_size(bad))
        return answer_json(x, 400, json_pack("{s:s,s:o}", "error", "job_ids holds what is no UUID in lower case", "invalid_ids", bad), e);
    json_decref(bad);
    for (size_t i = 0; good && i < json_array_size(ids); i++) {
        bool cancelled;
        good = queue_cancel(x->server->queue, owner_of(x), json_string_value(json_array_get(ids, i)), &cancelled, e);
        any = any || (good && cancelled);
    }
    return good && answer_json(x, 200, json_pack("{s:b}", "cancelled", any), e);
}
