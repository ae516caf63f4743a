/* What the server tells of itself. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "serve/server_internal.h"

bool get_healthz(struct exchange *x, struct err *e)
{
    bool fault = events_fault(x->server->events); /* which one is told to those who have the token */
    return answer_json(x, fault ? 503 : 200, json_pack("{s:s}", "status", fault ? "fault" : "ok"), e);
}

bool get_features(struct exchange *x, struct err *e)
{
    return answer_json(x, 200, json_pack("{s:b,s:I}", "supports_preview_metadata", 1, "max_upload_size",
                                         (json_int_t)x->server->o->max_upload_bytes), e);
}

bool get_system_stats(struct exchange *x, struct err *e)
{
    const struct serve_options *o = x->server->o;
    char program[100];
    json_int_t total = (json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), left = (json_int_t)mem_available();
    json_t *argv = json_array(); /* what the front end looks for in it, not the command line, which may hold a token */
    snprintf(program, sizeof program, "none (limn %s, C)", o->version);
    json_array_append_new(argv, json_string("--disable-api-nodes")); /* so that the front end asks its maker for nothing */
    json_t *device = json_pack("{s:s,s:s,s:n,s:I,s:I,s:I,s:I}", "name", "cpu", "type", "cpu", "index", "vram_total", total, "vram_free",
                               left, "torch_vram_total", (json_int_t)mem_rss(), "torch_vram_free", (json_int_t)0);
    return answer_json(x, 200,
                       json_pack("{s:{s:s,s:I,s:I,s:s,s:s,s:s,s:s,s:b,s:o},s:[o]}", "system", "os", "posix", "ram_total", total, "ram_free",
                                 left, "comfyui_version", SERVE_VERSION_OF_COMFYUI, "python_version", program, "pytorch_version", "none",
                                 "limn_version", o->version, "embedded_python", 0, "argv", argv, "devices", device), e);
}

/* One measure of Prometheus' text format. */
static void measure(struct text *t, const char *name, const char *kind, const char *help, double value)
{
    text_addf(t, "# HELP limn_%s %s\n# TYPE limn_%s %s\nlimn_%s %.17g\n", name, help, name, kind, name, value);
}

bool get_metrics(struct exchange *x, struct err *e)
{
    struct server *s = x->server;
    struct text t;
    size_t cut, dropped;
    text_init(&t, 1 << 20);
    sockets_losses(s->sockets, &cut, &dropped);
    measure(&t, "uptime_seconds", "gauge", "since the server started", clock_seconds() - s->started);
    text_add(&t, "# HELP limn_http_requests_total answered requests by the hundred of their status\n# TYPE limn_http_requests_total counter\n");
    for (int i = 1; i <= 5; i++)
        text_addf(&t, "limn_http_requests_total{status=\"%dxx\"} %ld\n", i, atomic_load(&s->requests[i]));
    measure(&t, "http_received_bytes_total", "counter", "bytes of bodies", (double)atomic_load(&s->received_bytes));
    measure(&t, "http_sent_bytes_total", "counter", "bytes of answers", (double)atomic_load(&s->sent_bytes));
    measure(&t, "connections", "gauge", "open connections", (double)connections_count(s->connections));
    measure(&t, "connections_cut_total", "counter", "connections that took too long", (double)connections_cut(s->connections));
    measure(&t, "sockets", "gauge", "open WebSockets", (double)sockets_count(s->sockets));
    measure(&t, "sockets_cut_total", "counter", "WebSockets that did not read", (double)cut);
    measure(&t, "socket_messages_dropped_total", "counter", "previews and progress that a slow WebSocket missed", (double)dropped);
    measure(&t, "resident_bytes", "gauge", "memory of the process", (double)mem_rss());
    measure(&t, "fault", "gauge", "1 while the database or its disk refuses", events_fault(s->events));
    measure(&t, "jobs_waiting", "gauge", "jobs that wait or run", (double)events_remaining(s->events));
    bool good = text_ok(&t, e) && answer_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", text_string(&t));
    text_release(&t);
    return good;
}

/* --- the log --- */

bool get_logs(struct exchange *x, struct err *e)
{
    json_t *entries = serve_log_entries(x->server->log, e), *entry;
    if (!entries)
        return false;
    struct text t;
    size_t i;
    text_init(&t, 1 << 20);
    json_array_foreach(entries, i, entry)
        text_addf(&t, "%s - %s", json_string_value(json_object_get(entry, "t")), json_string_value(json_object_get(entry, "m")));
    json_decref(entries);
    bool good = text_ok(&t, e) && answer_json(x, 200, json_string(text_string(&t)), e);
    text_release(&t);
    return good;
}

bool get_logs_raw(struct exchange *x, struct err *e)
{
    json_t *entries = serve_log_entries(x->server->log, e);
    return entries && answer_json(x, 200, json_pack("{s:o,s:{s:i,s:i}}", "entries", entries, "size", "cols", 120, "rows", 50), e);
}

bool patch_logs(struct exchange *x, struct err *e)
{
    sockets_subscribe_logs(x->server->sockets, json_string_value(json_object_get(x->json, "clientId")),
                           json_is_true(json_object_get(x->json, "enabled")));
    return answer_json(x, 200, json_object(), e);
}
