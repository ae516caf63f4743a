/* From a request's line to its handler: the route, who asks, the body, the answer. */
#include <civetweb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "serve/json_io.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

/* The parts of a path between slashes, as they were sent. */
enum { MOST_PARTS = 32 };
struct parts {
    const char *at[MOST_PARTS];
    size_t bytes[MOST_PARTS];
    int count;
};

/* False if there are too many; those behind the last are in it. */
static bool split(const char *path, struct parts *p)
{
    p->count = 0;
    for (const char *at = path; *at == '/';) {
        at++;
        if (p->count == MOST_PARTS)
            return false;
        p->at[p->count] = at;
        p->bytes[p->count] = strcspn(at, "/");
        at += p->bytes[p->count++];
    }
    return true;
}

static bool is_rest(const char *part, size_t bytes)
{
    return bytes > 5 && part[0] == '{' && !strncmp(part + bytes - 4, "...}", 4);
}

/* Whether a pattern fits the parts of a path; spots[i] is then the i-th part that the pattern names. */
static bool fits(const char *pattern, const struct parts *path, int *spots, int *named, bool *rest)
{
    struct parts p;
    *named = 0;
    *rest = false;
    if (!split(pattern, &p))
        return false;
    for (int i = 0; i < p.count; i++) {
        if (i >= path->count)
            return false;
        if (is_rest(p.at[i], p.bytes[i])) {
            spots[(*named)++] = i;
            *rest = true;
            return true;
        }
        if (*p.at[i] == '{') {
            if (!path->bytes[i])
                return false;
            spots[(*named)++] = i;
        } else if (p.bytes[i] != path->bytes[i] || memcmp(p.at[i], path->at[i], p.bytes[i])) {
            return false;
        }
    }
    return p.count == path->count;
}

/* The i-th part decoded, and once more if clients have encoded it twice; with `rest` all that follows. */
static char *take_part(const struct parts *path, int i, bool rest, struct err *e)
{
    char once[EXCHANGE_PARAM_BYTES], twice[EXCHANGE_PARAM_BYTES];
    size_t bytes = rest ? strlen(path->at[i]) : path->bytes[i];
    if (!percent_decode(path->at[i], bytes, false, once, sizeof once, e) ||
        !percent_decode(once, strlen(once), false, twice, sizeof twice, e))
        return NULL;
    char *s = mem_string(twice);
    if (!s)
        err_nomem(e, "the path of a request");
    return s;
}

const struct route *route_find(const char *method, const char *path, char **params, char allow[64], int *status, struct err *e)
{
    struct parts sent, bare;
    const struct route *found = NULL, *late = NULL;
    int spots[MOST_PARTS], named, found_spots[EXCHANGE_PARAMS] = { 0 }, found_named = 0;
    bool rest, found_rest = false, found_api = false;
    *allow = 0;
    *status = 404;
    if (*path != '/' || !split(path, &sent)) {
        *status = 400;
        err_set(e, ERR_FORMAT, "the address is no path, or one of more than %d parts", MOST_PARTS);
        return NULL;
    }
    bool api = sent.count > 1 && sent.bytes[0] == 3 && !memcmp(sent.at[0], "api", 3);
    if (api)
        split(sent.at[0] + 3, &bare);
    if (!strcmp(method, "HEAD"))
        method = "GET";
    for (size_t i = 0; i < route_count && !found; i++) {
        const struct route *r = &routes[i];
        for (int with = 0; with < 1 + (api && r->flags & ROUTE_ALSO_API) && !found; with++) {
            const struct parts *p = with ? &bare : &sent;
            if (!fits(r->path, p, spots, &named, &rest))
                continue;
            bool mine = !strcmp(r->method, method);
            if (!mine && !(rest && !strcmp(r->path, "/{file...}"))) {
                size_t used = strlen(allow);
                snprintf(allow + used, 64 - used, "%s%s", used ? ", " : "", r->method);
            }
            if (!mine)
                continue;
            bool last = !strcmp(r->path, "/{file...}"); /* the page's files: when nothing else is meant */
            if (last && *allow)
                continue;
            if (last)
                late = r;
            else
                found = r;
            found_named = named;
            found_rest = rest;
            found_api = with;
            for (int k = 0; k < named && k < EXCHANGE_PARAMS; k++)
                found_spots[k] = spots[k];
        }
    }
    found = found ? found : *allow || api ? NULL : late;
    if (!found) {
        *status = *allow ? 405 : 404;
        return NULL;
    }
    for (int k = 0; k < found_named && k < EXCHANGE_PARAMS; k++)
        if (!(params[k] = take_part(found_api ? &bare : &sent, found_spots[k], found_rest && k == found_named - 1, e))) {
            *status = e->code == ERR_NOMEM ? 503 : 400;
            return NULL;
        }
    return found;
}

/* --- one request --- */

static bool refuse(struct exchange *x, enum guard_verdict verdict, int wait)
{
    char text[32];
    switch (verdict) {
    case GUARD_GOOD:
        return false;
    case GUARD_WRONG_HOST:
        return answer_error(x, 403, "wrong_host", "this server is not called %.100s; limn serve --allow-host adds a name",
                            exchange_header(x, "Host"));
    case GUARD_WRONG_ORIGIN:
        return answer_error(x, 403, "wrong_origin", "pages of another origin may not call this server; limn serve --cors allows one");
    case GUARD_NO_TOKEN:
        exchange_add_header(x, "WWW-Authenticate", "Basic realm=\"limn\", charset=\"UTF-8\"");
        return answer_error(x, 401, "no_token", "this server wants its token: as Authorization: Bearer TOKEN, as the password, or as ?token=");
    case GUARD_TOO_OFTEN:
        snprintf(text, sizeof text, "%d", wait);
        exchange_add_header(x, "Retry-After", text);
        return answer_error(x, 429, "too_often", "more than %d jobs a minute; in %d s there may be one more", x->server->o->rate, wait);
    }
    return true;
}

/* Fills what a guard asks of. The token's text lies in `token`. */
static struct guard_request about(struct exchange *x, char *token, size_t cap)
{
    bool found;
    struct err ignored = { 0 };
    if (!exchange_query(x, "token", token, cap, &found, &ignored) || !found)
        *token = 0;
    return (struct guard_request){
        .host = exchange_header(x, "Host"), .origin = exchange_header(x, "Origin"), .authorization = exchange_header(x, "Authorization"),
        .fetch_site = exchange_header(x, "Sec-Fetch-Site"), .fetch_mode = exchange_header(x, "Sec-Fetch-Mode"), .method = x->method,
        .address = exchange_peer(x), .query_token = *token ? token : NULL,
    };
}

/* Errors of the dispatcher look as those of the family whose routes begin so. */
static const struct route *errors_of(const char *path)
{
    static const struct route openai = { .family = FAMILY_OPENAI }, a1111 = { .family = FAMILY_A1111 };
    return !strncmp(path, "/v1/", 4) ? &openai : !strncmp(path, "/sdapi/", 7) ? &a1111 : NULL;
}

static void handle(struct exchange *x, const char *path)
{
    struct err e = { 0 };
    char allow[64], token[256];
    int status, wait;
    bool options = !strcmp(x->method, "OPTIONS");
    x->route = errors_of(path);
    const struct route *r = options ? NULL : route_find(x->method, path, x->param, allow, &status, &e);
    if (r)
        x->route = r;
    struct guard_request asked = about(x, token, sizeof token);
    bool open = options || (r && r->flags & ROUTE_OPEN);
    enum guard_verdict verdict = guard_ask(x->server->guard, &asked, open, r && r->flags & ROUTE_WORK, &wait);
    if (refuse(x, verdict, wait))
        return;
    if (options) {
        exchange_add_header(x, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        answer_empty(x, 200);
        return;
    }
    if (!r) {
        if (status == 405) {
            exchange_add_header(x, "Allow", allow);
            answer_error(x, 405, "wrong_method", "%.200s takes %s, not %.20s", path, allow, x->method);
        } else if (e.text[0]) {
            answer_failure(x, &e);
        } else {
            answer_error(x, 404, "not_found", "there is no %.200s here; /openapi.json lists what there is", path);
        }
        return;
    }
    if (atomic_load(&x->server->stopping)) {
        answer_error(x, 503, "stopping", "the server is starting or ending");
        return;
    }
    bool good = route_check_query(r, x->query, &e) && exchange_user(x, &e);
    if (good && !x->status && r->flags & ROUTE_JSON) {
        good = exchange_read_body(x, BODY_JSON, &e);
        if (good) {
            x->json = x->body_bytes ? json_io_parse(x->body, x->body_bytes, "the body", &e) : json_object();
            good = x->json && route_check_body(r, x->json, &e);
        }
    }
    if (!x->status && (!good || !r->run(x, &e)))
        answer_failure(x, &e);
    if (!x->status)
        answer_error(x, 500, "failed", "nothing was answered");
}

int dispatch(struct server *s, struct mg_connection *c)
{
    const struct mg_request_info *info = mg_get_request_info(c);
    struct peer *peer = mg_get_user_connection_data(c);
    struct exchange x = { .server = s, .connection = c, .method = info->request_method, .query = info->query_string };
    x.head = !strcmp(x.method, "HEAD");
    const char *path = info->local_uri_raw ? info->local_uri_raw : "";
    if (peer && !peer->watched)
        peer->watched = connection_open(s->connections, info->remote_addr, info->remote_port);
    bool socket = !strcmp(path, "/ws") || !strcmp(path, "/api/ws");
    connection_stage(s->connections, peer ? peer->watched : NULL, CONNECTION_WORK, 0);
    atomic_fetch_add(&s->answering, 1);
    if (socket && !strcmp(x.method, "GET")) {
        char token[256];
        int wait;
        struct err e = { 0 };
        struct guard_request asked = about(&x, token, sizeof token);
        const char *upgrade = exchange_header(&x, "Upgrade");
        enum guard_verdict verdict = guard_ask(s->guard, &asked, false, false, &wait);
        if (refuse(&x, verdict, wait)) {
        } else if (atomic_load(&s->stopping)) {
            answer_error(&x, 503, "stopping", "the server is starting or ending");
        } else if (!upgrade || strcasecmp(upgrade, "websocket")) {
            exchange_add_header(&x, "Upgrade", "websocket");
            answer_error(&x, 426, "no_websocket", "/ws is a WebSocket");
        } else if (!exchange_user(&x, &e)) {
            answer_failure(&x, &e);
        }
    } else {
        handle(&x, path);
    }
    atomic_fetch_sub(&s->answering, 1);
    if (x.status) {
        atomic_fetch_add(&s->requests[x.status / 100 <= 5 ? x.status / 100 : 0], 1);
        atomic_fetch_add(&s->sent_bytes, (long long)x.sent_bytes);
        connection_stage(s->connections, peer ? peer->watched : NULL, CONNECTION_HEAD, 0);
    }
    int status = x.status;
    exchange_release(&x);
    return status; /* 0: civetweb upgrades it */
}
