/* Users, their settings and their files: what a page keeps between visits. user/<id>/comfy.settings.json, user/<id>/workflows/... */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "serve/json_io.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

#define USER_COOKIE "limn_user"
enum { MOST_USERS = 1000, MOST_FILES = 100000, MOST_DEPTH = 16 };

/* --- users --- */

/* {id: name}; a new reference. Under user_lock. */
static json_t *read_users(const struct server *s, char path[PATH_MAX_BYTES], struct err *e)
{
    if (!path_join(path, s->o->user, "users.json", e))
        return NULL;
    if (!path_exists(path)) {
        json_t *none = json_object();
        if (!none)
            err_nomem(e, "the list of users");
        return none;
    }
    return json_read(path, e);
}

/* Names of folders beside those of users: nobody's. */
static bool is_reserved(const char *name)
{
    return !strncmp(name, "__", 2);
}

static bool known_user(struct server *s, const char *id, bool *known, struct err *e)
{
    char path[PATH_MAX_BYTES];
    pthread_mutex_lock(&s->user_lock);
    json_t *users = read_users(s, path, e);
    pthread_mutex_unlock(&s->user_lock);
    *known = json_object_get(users, id) != NULL;
    json_decref(users);
    return users != NULL;
}

/* The user that a request names: in its header, its query, or, where it only reads, its cookie: pages cannot give pictures and WebSockets
 * a header. *found is false without a name; true as the result but for a query that cannot be read. */
static bool named_user(const struct exchange *x, char asked[USER_ID_BYTES], bool *found, struct err *e)
{
    const char *header = exchange_header(x, "Comfy-User");
    *found = header && *header; /* the front end sends an empty one before it has asked who is there */
    if (*found) {
        snprintf(asked, USER_ID_BYTES, "%s", header);
        return true;
    }
    if (!exchange_query(x, "user", asked, USER_ID_BYTES, found, e))
        return false;
    if (!*found && (!strcmp(x->method, "GET") || x->head))
        *found = exchange_cookie(x, USER_COOKIE, asked, USER_ID_BYTES);
    return true;
}

/* Tells the browser to say this name where the page cannot. */
static void give_cookie(struct exchange *x, const char *user)
{
    char told[USER_ID_BYTES], text[200];
    if (exchange_cookie(x, USER_COOKIE, told, sizeof told) && !strcmp(told, user))
        return;
    snprintf(text, sizeof text, USER_COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict%s", user, x->server->o->certificate ? "; Secure" : "");
    exchange_add_header(x, "Set-Cookie", text);
}

bool exchange_user(struct exchange *x, struct err *e)
{
    char asked[USER_ID_BYTES] = "";
    snprintf(x->user, sizeof x->user, "default");
    if (!x->server->o->users || (x->route && x->route->flags & ROUTE_OPEN))
        return true;
    bool found, known = false, any = x->route && x->route->flags & ROUTE_ANY_USER;
    if (!named_user(x, asked, &found, e))
        return false;
    if (any) {
        if (found && !is_reserved(asked) && known_user(x->server, asked, &known, e) && known)
            snprintf(x->user, sizeof x->user, "%s", asked);
        return !e->code;
    }
    if (found && is_reserved(asked))
        return answer_error(x, 403, "not_allowed", "names that begin with __ are the server's own");
    if (found && !known_user(x->server, asked, &known, e))
        return false;
    if (!known)
        return answer_error(x, 401, "unknown_user", "this server has several users: the header Comfy-User or ?user= must name one (GET /users)");
    snprintf(x->user, sizeof x->user, "%s", asked);
    if (exchange_header(x, "Comfy-User"))
        give_cookie(x, asked);
    return true;
}

bool user_place(const struct server *s, const char *user, const char *folder, char out[PATH_MAX_BYTES], struct err *e)
{
    return s->o->users ? path_below(out, folder, user, e) : path_join(out, "", folder, e);
}

bool get_users(struct exchange *x, struct err *e)
{
    if (!x->server->o->users)
        return answer_json(x, 200, json_pack("{s:s,s:b}", "storage", "server", "migrated", 1), e);
    char path[PATH_MAX_BYTES];
    pthread_mutex_lock(&x->server->user_lock);
    json_t *users = read_users(x->server, path, e);
    pthread_mutex_unlock(&x->server->user_lock);
    return users && answer_json(x, 200, json_pack("{s:s,s:o}", "storage", "server", "users", users), e);
}

/* An id: the name's letters and digits, and random ones, since who knows it may act as this user. */
static bool make_id(char id[USER_ID_BYTES], const char *name, struct err *e)
{
    char token[44];
    size_t n = 0;
    if (!guard_make_token(token, e))
        return false;
    for (const char *c = name; *c && n < 20; c++)
        if ((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z'))
            id[n++] = *c;
    snprintf(id + n, USER_ID_BYTES - n, "_%.24s", token);
    return true;
}

static bool add_user(struct exchange *x, json_t *users, const char *path, const char *name, char id[USER_ID_BYTES], struct err *e)
{
    const char *key;
    json_t *value;
    json_object_foreach(users, key, value)
        if (json_is_string(value) && !strcmp(json_string_value(value), name))
            return answer_error(x, 400, "duplicate", "there is a user called %.100s", name);
    if (json_object_size(users) >= MOST_USERS)
        return err_set(e, ERR_LIMIT, "there are %d users, more are not taken", MOST_USERS);
    if (!make_id(id, name, e))
        return false;
    if (json_object_set_new(users, id, json_string(name)))
        return err_nomem(e, "a user");
    return json_write(users, path, e);
}

bool post_users(struct exchange *x, struct err *e)
{
    const char *name = json_string_value(json_object_get(x->json, "username"));
    char path[PATH_MAX_BYTES], id[USER_ID_BYTES];
    if (!x->server->o->users)
        return answer_error(x, 400, "one_user", "this server has one user; limn serve --users has several");
    if (!*name || strlen(name) > 100)
        return err_set(e, ERR_ARG, "a user's name has 1 to 100 bytes");
    if (is_reserved(name))
        return err_set(e, ERR_ARG, "a user's name does not begin with __");
    pthread_mutex_lock(&x->server->user_lock);
    json_t *users = read_users(x->server, path, e);
    bool good = users && add_user(x, users, path, name, id, e);
    pthread_mutex_unlock(&x->server->user_lock);
    json_decref(users);
    return good && (x->status || answer_json(x, 200, json_string(id), e));
}

/* --- settings --- */

static bool user_folder(const struct exchange *x, char out[PATH_MAX_BYTES], struct err *e)
{
    return path_below(out, x->server->o->user, x->user, e) && folder_make(out, e);
}

/* Under user_lock, as the next. A new user has seen the first-run dialogs of the front end. */
static json_t *read_settings(const struct exchange *x, char path[PATH_MAX_BYTES], struct err *e)
{
    char folder[PATH_MAX_BYTES];
    if (!user_folder(x, folder, e) || !path_join(path, folder, "comfy.settings.json", e))
        return NULL;
    if (path_exists(path))
        return json_read(path, e);
    json_t *fresh = json_pack("{s:b}", "Comfy.TutorialCompleted", 1);
    if (!fresh)
        err_nomem(e, "settings");
    return fresh;
}

static json_t *locked_settings(const struct exchange *x, struct err *e)
{
    char path[PATH_MAX_BYTES];
    pthread_mutex_lock(&x->server->user_lock);
    json_t *all = read_settings(x, path, e);
    pthread_mutex_unlock(&x->server->user_lock);
    return all;
}

bool get_settings(struct exchange *x, struct err *e)
{
    json_t *all = locked_settings(x, e);
    return all && answer_json(x, 200, all, e);
}

bool get_setting(struct exchange *x, struct err *e)
{
    json_t *all = locked_settings(x, e);
    json_t *value = json_object_get(all, x->param[0]);
    value = value ? json_incref(value) : json_null();
    json_decref(all);
    return all && answer_json(x, 200, value, e);
}

/* Lays `more` over the settings and writes them. */
static bool change_settings(struct exchange *x, json_t *more, struct err *e)
{
    char path[PATH_MAX_BYTES];
    pthread_mutex_lock(&x->server->user_lock);
    json_t *all = read_settings(x, path, e);
    bool good = all && (!json_object_update(all, more) || err_nomem(e, "settings")) && json_write(all, path, e);
    pthread_mutex_unlock(&x->server->user_lock);
    json_decref(all);
    return good;
}

json_t *setting_read(struct exchange *x, const char *key, struct err *e)
{
    json_t *all = locked_settings(x, e), *value = json_object_get(all, key);
    value = all ? json_is_object(value) ? json_incref(value) : json_object() : NULL;
    json_decref(all);
    return value;
}

bool setting_write(struct exchange *x, const char *key, json_t *value, struct err *e)
{
    json_t *more = json_object();
    bool good = more && !json_object_set(more, key, value) ? change_settings(x, more, e) : err_nomem(e, "a setting");
    json_decref(more);
    return good;
}

bool post_settings(struct exchange *x, struct err *e)
{
    if (!json_is_object(x->json))
        return err_set(e, ERR_ARG, "settings are an object");
    return change_settings(x, x->json, e) && answer_json(x, 200, json_object(), e);
}

bool post_setting(struct exchange *x, struct err *e)
{
    return setting_write(x, x->param[0], x->json, e) && answer_json(x, 200, json_object(), e);
}

/* --- files --- */

/* A folder or file of the user's into out. Where the name leaves the folder: 403, with *refused. */
static bool user_path(struct exchange *x, const char *name, char out[PATH_MAX_BYTES], bool *refused, struct err *e)
{
    char root[PATH_MAX_BYTES];
    *refused = false;
    if (!user_folder(x, root, e))
        return false;
    if (path_below(out, root, name, e))
        return true;
    *refused = e->code == ERR_ARG;
    return *refused && answer_error(x, 403, "not_allowed", "%s", e->text);
}

static int64_t ms_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static json_t *file_info(const char *name, const struct stat *s)
{
    return json_pack("{s:s,s:I,s:I,s:I}", "path", name, "size", (json_int_t)s->st_size, "modified", (json_int_t)ms_of(s->st_mtim),
                     "created", (json_int_t)ms_of(s->st_ctim));
}

enum listing { LIST_NAMES, LIST_SPLIT, LIST_INFO };
struct lister {
    json_t *list;
    enum listing how;
    bool recurse;
    size_t count;
};

static json_t *split_name(const char *name)
{
    json_t *parts = json_pack("[s]", name);
    for (const char *at = name; *at && parts; at += strcspn(at, "/"), at += *at == '/')
        json_array_append_new(parts, json_stringn(at, strcspn(at, "/")));
    return parts;
}

/* The files of folder/below, by name, into the list; names are relative to `folder`. */
static bool list_files(struct lister *l, const char *folder, const char *below, int depth, struct err *e)
{
    char path[PATH_MAX_BYTES], **names;
    size_t count;
    if (!path_join(path, folder, *below ? below : ".", e) || !folder_names(path, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        char name[PATH_MAX_BYTES];
        struct stat s;
        json_t *item = NULL;
        if (!path_join(name, below, names[i], e) || !path_join(path, folder, name, e)) {
            good = false;
        } else if (lstat(path, &s)) {
            continue; /* it has just gone */
        } else if (S_ISDIR(s.st_mode)) {
            good = !l->recurse || depth == MOST_DEPTH || list_files(l, folder, name, depth + 1, e);
        } else if (S_ISREG(s.st_mode) && utf8_valid(name, strlen(name))) {
            if (++l->count > MOST_FILES) {
                good = err_set(e, ERR_LIMIT, "the folder holds more than %d files", MOST_FILES);
                break;
            }
            item = l->how == LIST_INFO ? file_info(name, &s) : l->how == LIST_SPLIT ? split_name(name) : json_string(name);
            good = (item && !json_array_append_new(l->list, item)) || err_nomem(e, "a list of files");
        }
    }
    folder_names_free(names, count);
    return good;
}

bool get_userdata(struct exchange *x, struct err *e)
{
    char dir[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    bool found, refused;
    if (!exchange_query(x, "dir", dir, sizeof dir, &found, e))
        return false;
    if (!found || !*dir)
        return err_set(e, ERR_ARG, "the query has no dir");
    while (*dir && dir[strlen(dir) - 1] == '/')
        dir[strlen(dir) - 1] = 0;
    if (!user_path(x, dir, path, &refused, e) || refused)
        return refused;
    if (!path_is_folder(path))
        return err_set(e, ERR_MISSING, "there is no folder %.200s", dir);
    struct lister l = { json_array(), LIST_NAMES, exchange_query_bool(x, "recurse"), 0 };
    l.how = exchange_query_bool(x, "full_info") ? LIST_INFO : exchange_query_bool(x, "split") ? LIST_SPLIT : LIST_NAMES;
    if (!l.list || !list_files(&l, path, "", 0, e)) {
        json_decref(l.list);
        return l.list ? false : err_nomem(e, "a list of files");
    }
    return answer_json(x, 200, l.list, e);
}

/* {name, path, type, modified, size} of all that lies in root/below into the list; paths are relative to root. */
static bool list_all(json_t *list, const char *root, const char *below, int depth, struct err *e)
{
    char path[PATH_MAX_BYTES], name[PATH_MAX_BYTES], **names;
    size_t count;
    if (!path_join(path, root, *below ? below : ".", e) || !folder_names(path, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        struct stat s;
        if (!path_join(name, below, names[i], e) || !path_join(path, root, name, e)) {
            good = false;
            break;
        }
        if (lstat(path, &s) || !utf8_valid(name, strlen(name)) || (!S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode)))
            continue;
        if (json_array_size(list) == MOST_FILES) {
            good = err_set(e, ERR_LIMIT, "the folder holds more than %d files", MOST_FILES);
            break;
        }
        json_t *item = json_pack("{s:s,s:s,s:s,s:I}", "name", names[i], "path", name, "type", S_ISDIR(s.st_mode) ? "directory" : "file",
                                 "modified", (json_int_t)ms_of(s.st_mtim));
        if (item && S_ISREG(s.st_mode))
            json_object_set_new(item, "size", json_integer((json_int_t)s.st_size));
        good = (item && !json_array_append_new(list, item)) || err_nomem(e, "a list of files");
        if (good && S_ISDIR(s.st_mode) && depth < MOST_DEPTH)
            good = list_all(list, root, name, depth + 1, e);
    }
    folder_names_free(names, count);
    return good;
}

bool get_userdata_v2(struct exchange *x, struct err *e)
{
    char dir[PATH_MAX_BYTES], path[PATH_MAX_BYTES], root[PATH_MAX_BYTES];
    bool found, refused = false;
    if (!exchange_query(x, "path", dir, sizeof dir, &found, e))
        return false;
    if (!found)
        *dir = 0;
    while (*dir && dir[strlen(dir) - 1] == '/')
        dir[strlen(dir) - 1] = 0;
    if (!user_folder(x, root, e) || !user_path(x, dir, path, &refused, e) || refused)
        return refused;
    if (!path_is_folder(path))
        return path_exists(path) ? err_set(e, ERR_ARG, "%.200s is no folder", dir) : err_set(e, ERR_MISSING, "there is no folder %.200s", dir);
    json_t *list = json_array();
    if (!list || !list_all(list, root, dir, 0, e)) {
        json_decref(list);
        return list ? false : err_nomem(e, "a list of files");
    }
    return answer_json(x, 200, list, e);
}

bool get_userdata_file(struct exchange *x, struct err *e)
{
    char path[PATH_MAX_BYTES];
    bool refused;
    if (!user_path(x, x->param[0], path, &refused, e) || refused)
        return refused;
    if (!path_exists(path))
        return err_set(e, ERR_MISSING, "there is no file %.200s", x->param[0]);
    /* what users leave here is never shown as a page of the server's; a style alone keeps its type: user.css is one */
    exchange_add_header(x, "Content-Disposition", "attachment");
    return answer_file(x, path, "no-cache", NULL, strncmp(http_type(path), "text/css", 8) != 0, e);
}

/* The answer to a change: the name, or with full_info what the file is. */
static bool tell_file(struct exchange *x, const char *path, const char *name, struct err *e)
{
    struct stat s;
    if (!exchange_query_bool(x, "full_info"))
        return answer_json(x, 200, json_string(name), e);
    if (stat(path, &s))
        return err_errno(e, "cannot look at %s", name);
    return answer_json(x, 200, file_info(name, &s), e);
}

static bool keeps_what_is_there(const struct exchange *x)
{
    char text[16];
    bool found;
    struct err ignored = { 0 };
    return exchange_query(x, "overwrite", text, sizeof text, &found, &ignored) && found && !strcmp(text, "false");
}

static bool make_parent(const char *path, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    return folder_make(folder, e);
}

bool post_userdata_file(struct exchange *x, struct err *e)
{
    char path[PATH_MAX_BYTES];
    bool refused;
    if (!user_path(x, x->param[0], path, &refused, e) || refused)
        return refused;
    if (path_is_folder(path))
        return answer_error(x, 409, "conflict", "%.200s is a folder", x->param[0]);
    if (!exchange_read_body(x, x->server->o->max_upload_bytes, e))
        return false;
    pthread_mutex_lock(&x->server->user_lock);
    bool there = keeps_what_is_there(x) && path_exists(path);
    bool good = there || (make_parent(path, e) && file_write_whole(path, x->body ? x->body : "", x->body_bytes, e));
    pthread_mutex_unlock(&x->server->user_lock);
    if (there)
        return answer_error(x, 409, "conflict", "%.200s is there already; overwrite=true replaces it", x->param[0]);
    return good && tell_file(x, path, x->param[0], e);
}

bool delete_userdata_file(struct exchange *x, struct err *e)
{
    char path[PATH_MAX_BYTES];
    bool refused;
    if (!user_path(x, x->param[0], path, &refused, e) || refused)
        return refused;
    if (unlink(path))
        return errno == ENOENT || errno == ENOTDIR || errno == EISDIR
                   ? err_set(e, ERR_MISSING, "there is no file %.200s", x->param[0])
                   : err_errno(e, "cannot delete %.200s", x->param[0]);
    return answer_empty(x, 204);
}

bool move_userdata_file(struct exchange *x, struct err *e)
{
    char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES];
    bool refused;
    if (!user_path(x, x->param[0], from, &refused, e) || refused || !user_path(x, x->param[1], to, &refused, e) || refused)
        return refused;
    if (!path_exists(from))
        return err_set(e, ERR_MISSING, "there is no file %.200s", x->param[0]);
    pthread_mutex_lock(&x->server->user_lock);
    bool there = path_is_folder(to) || (keeps_what_is_there(x) && path_exists(to));
    bool good = there || (make_parent(to, e) && (!rename(from, to) || err_errno(e, "cannot move %.200s", x->param[0])));
    pthread_mutex_unlock(&x->server->user_lock);
    if (there)
        return answer_error(x, 409, "conflict", "%.200s is there already", x->param[1]);
    return good && tell_file(x, to, x->param[1], e);
}
