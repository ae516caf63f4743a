/* /openapi.json: the table of routes as OpenAPI 3.1 has it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/server_internal.h"

/* The schema of a value's type; `text`: in a query or a form, where all is text. */
static json_t *schema_of(const char *type)
{
    static const struct { const char *type, *schema; } all[] = {
        { "str", "{\"type\":\"string\"}" }, { "text", "{\"type\":\"string\"}" }, { "int", "{\"type\":\"integer\"}" },
        { "uint", "{\"type\":\"integer\",\"minimum\":0}" }, { "num", "{\"type\":\"number\"}" }, { "bool", "{\"type\":\"boolean\"}" },
        { "obj", "{\"type\":\"object\"}" }, { "object", "{\"type\":\"object\"}" }, { "list", "{\"type\":\"array\",\"items\":{}}" },
        { "array", "{\"type\":\"array\",\"items\":{}}" }, { "any", "{}" }, { "file", "{\"type\":\"string\",\"format\":\"binary\"}" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].type, type))
            return json_loads(all[i].schema, 0, NULL);
    json_t *names = json_array();
    for (const char *at = type;; at++) {
        size_t n = strcspn(at, "|");
        json_array_append_new(names, json_stringn(at, n));
        at += n;
        if (!*at)
            break;
    }
    return json_pack("{s:s,s:o}", "type", "string", "enum", names);
}

static json_t *parameters(const struct route *r)
{
    json_t *list = json_array();
    struct route_value v;
    for (const char *at = r->path; (at = strchr(at, '{')); at++) {
        size_t n = strcspn(at + 1, ".}");
        json_array_append_new(list, json_pack("{s:s%,s:s,s:b,s:{s:s,s:i}}", "name", at + 1, n, "in", "path", "required", 1, "schema", "type", "string",
                                              "minLength", 1));
    }
    for (route_values at = r->query; route_value_next(&at, &v);)
        json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:o}", "name", v.name, "in", "query", "required", v.needed, "schema", schema_of(v.type)));
    return list;
}

static json_t *body_of(const struct route *r)
{
    struct route_value v;
    json_t *properties = json_object(), *needed = json_array(), *schema;
    for (route_values at = r->body; route_value_next(&at, &v);) {
        json_t *type = schema_of(v.type);
        if (!v.needed && !(r->flags & ROUTE_FORM) && json_object_size(type) && !json_object_get(type, "enum")) /* null: as if it were not there */
            json_object_set_new(type, "type", json_pack("[O,s]", json_object_get(type, "type"), "null"));
        else if (!v.needed && json_object_get(type, "enum") && !(r->flags & ROUTE_FORM)) {
            json_object_set_new(type, "type", json_pack("[s,s]", "string", "null"));
            json_array_append_new(json_object_get(type, "enum"), json_null());
        }
        json_object_set_new(properties, v.name, type);
        if (v.needed)
            json_array_append_new(needed, json_string(v.name));
    }
    schema = r->body ? json_pack("{s:s,s:o,s:o}", "type", "object", "properties", properties, "required", needed) : json_object();
    if (!r->body) {
        json_decref(properties);
        json_decref(needed);
    }
    const char *type = r->flags & ROUTE_FORM ? "multipart/form-data" : r->flags & ROUTE_JSON ? "application/json" : "application/octet-stream";
    return json_pack("{s:b,s:{s:{s:o}}}", "required", r->flags & ROUTE_FORM ? 1 : 0, "content", type, "schema", schema);
}

static const char *type_of_answer(const struct route *r)
{
    return strchr(r->answer, '/') ? r->answer : !strcmp(r->answer, "file") ? "*/*" : "application/json";
}

static json_t *one_answer(const struct route *r, int status)
{
    bool error = status >= 400;
    if (!error && status != 200 && status != 206)
        return json_pack("{s:s}", "description", http_reason(status));
    if (error)
        return json_pack("{s:s,s:{s:{s:{s:s}}}}", "description", http_reason(status), "content", "application/json", "schema", "$ref",
                         r->family == FAMILY_PLAIN    ? "#/components/schemas/ErrorText"
                         : r->family == FAMILY_OPENAI ? "#/components/schemas/ErrorOpenAI"
                         : r->family == FAMILY_A1111  ? "#/components/schemas/ErrorDetail"
                                                      : "#/components/schemas/Error");
    json_t *schema = strchr(r->answer, '/') && strncmp(r->answer, "text/", 5) ? schema_of("file") : schema_of(strchr(r->answer, '/') ? "text" : r->answer);
    return json_pack("{s:s,s:{s:{s:o}}}", "description", http_reason(status), "content", type_of_answer(r), "schema", schema);
}

static json_t *answers(const struct route *r)
{
    static const int always[] = { 400, 401, 403, 413, 503 };
    json_t *all = json_object();
    char code[8];
    if (strcmp(r->answer, "empty"))
        json_object_set_new(all, "200", one_answer(r, 200));
    for (const char *at = r->codes; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
        snprintf(code, sizeof code, "%.3s", at);
        json_object_set_new(all, code, one_answer(r, atoi(code)));
    }
    for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
        snprintf(code, sizeof code, "%d", always[i]);
        if (!json_object_get(all, code))
            json_object_set_new(all, code, one_answer(r, always[i]));
    }
    return all;
}

/* "/a/{file...}" -> "/a/{file}". */
static void plain_path(const char *path, char *out, size_t cap)
{
    const char *dots = strstr(path, "...}");
    snprintf(out, cap, "%.*s%s", dots ? (int)(dots - path) : (int)strlen(path), path, dots ? dots + 3 : "");
}

static json_t *operation(const struct route *r)
{
    json_t *o = json_pack("{s:[s],s:s,s:o,s:o}", "tags", r->tag, "summary", r->help, "parameters", parameters(r), "responses", answers(r));
    if (r->flags & (ROUTE_JSON | ROUTE_FILE) && strcmp(r->method, "GET"))
        json_object_set_new(o, "requestBody", body_of(r));
    if (!(r->flags & ROUTE_OPEN))
        json_object_set_new(o, "security", json_pack("[{},{s:[]},{s:[]}]", "bearer", "basic"));
    return o;
}

bool get_openapi(struct exchange *x, struct err *e)
{
    json_t *paths = json_object();
    for (size_t i = 0; paths && i < route_count; i++) {
        const struct route *r = &routes[i];
        char path[256], method[8];
        if (r->flags & ROUTE_QUIET)
            continue;
        plain_path(r->path, path, sizeof path);
        size_t n = 0;
        for (; r->method[n] && n + 1 < sizeof method; n++)
            method[n] = (char)(r->method[n] + 32); /* "GET" -> "get" */
        method[n] = 0;
        json_t *item = json_object_get(paths, path);
        if (!item) {
            item = json_object();
            json_object_set_new(paths, path, item);
        }
        json_object_set_new(item, method, operation(r));
    }
    static const char schemas[] =
        "{\"Error\":{\"type\":\"object\",\"required\":[\"error\",\"node_errors\"],\"properties\":{\"error\":{\"type\":\"object\",\"required\":[\"type\",\"message\","
        "\"details\",\"extra_info\"],\"properties\":{\"type\":{\"type\":\"string\"},\"message\":{\"type\":\"string\"},\"details\":{\"type\":\"string\"},"
        "\"extra_info\":{\"type\":\"object\"}}},\"node_errors\":{\"type\":\"object\"}}},"
        "\"ErrorText\":{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"string\"}}},"
        "\"ErrorDetail\":{\"type\":\"object\",\"required\":[\"detail\"],\"properties\":{\"detail\":{\"type\":\"string\"},\"error\":{\"type\":\"string\"}}},"
        "\"ErrorOpenAI\":{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"object\",\"required\":[\"message\",\"type\"],"
        "\"properties\":{\"message\":{\"type\":\"string\"},\"type\":{\"type\":\"string\"}}}}}}";
    json_t *all = json_pack("{s:s,s:{s:s,s:s,s:s},s:[{s:s}],s:o,s:{s:o,s:{s:{s:s,s:s},s:{s:s,s:s}}}}", "openapi", "3.1.0", "info", "title", "limn",
                            "version", x->server->o->version, "description",
                            "Pictures from words. Routes are those of ComfyUI (all of them but /internal, /healthz, /metrics and /openapi.json also "
                            "below /api), and limn's own. Errors of any route are JSON.",
                            "servers", "url", "/", "paths", paths, "components", "schemas", json_loads(schemas, 0, NULL), "securitySchemes", "bearer",
                            "type", "http", "scheme", "bearer", "basic", "type", "http", "scheme", "basic");
    return answer_json(x, 200, all, e);
}
