#include "serve/catalog.h"

#include <glib.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "serve/json_io.h"

/* KEPT: users; a folder's time has the steps of the kernel's clock (4 or 10 ms): one that changed so little before may change again
 * within the same step. */
enum { KEPT = 16, MOST_FOLDERS = 1024, STEP_MS = 50 };
#define ANSWER_MAX_BYTES ((size_t)256 << 20)

/* What a folder was when its names were read; a name that comes, goes or is changed changes its time. */
struct stamp {
    char *path;
    bool there;
    dev_t device;
    ino_t node;
    struct timespec changed;
};

/* One answer. Its holders are counted under the catalog's lock; nothing of it changes. */
struct edition {
    int holders;
    uint64_t used; /* under the lock */
    char user[USER_ID_BYTES];
    struct stamp *stamps;
    size_t stamp_count, stamp_cap;
    bool lasting; /* it may be used again */
    char tag[40];
    struct text text;
    unsigned char *gzip;
    size_t gzip_bytes;
};

struct catalog {
    struct catalog_options o;
    pthread_mutex_t lock; /* of what follows */
    struct edition *kept[KEPT];
    uint64_t turn;
};

struct catalog *catalog_new(const struct catalog_options *options, struct err *e)
{
    struct catalog *c = mem_zeroed(1, sizeof *c);
    if (!c) {
        err_nomem(e, "the catalog of nodes");
        return NULL;
    }
    c->o = *options;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

/* Under the lock, or the only holder. Accepts NULL. */
static void drop(struct edition *n)
{
    if (!n || --n->holders)
        return;
    for (size_t i = 0; i < n->stamp_count; i++)
        mem_free(n->stamps[i].path);
    mem_free(n->stamps);
    text_release(&n->text);
    mem_free(n->gzip);
    mem_free(n);
}

void catalog_free(struct catalog *c)
{
    if (!c)
        return;
    for (int i = 0; i < KEPT; i++)
        drop(c->kept[i]);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

/* --- whether it is still so --- */

static struct stamp look(const char *path)
{
    struct stat s;
    struct stamp now = { 0 };
    if (!stat(path, &s))
        now = (struct stamp){ .there = true, .device = s.st_dev, .node = s.st_ino, .changed = s.st_mtim };
    return now;
}

static bool still_so(const struct edition *n)
{
    for (size_t i = 0; i < n->stamp_count; i++) {
        const struct stamp *was = &n->stamps[i], is = look(was->path);
        if (is.there != was->there || is.device != was->device || is.node != was->node || is.changed.tv_sec != was->changed.tv_sec ||
            is.changed.tv_nsec != was->changed.tv_nsec)
            return false;
    }
    return true;
}

/* Many places of models are not there: their folder, which is there, would change if they came. */
static void go_up(char path[PATH_MAX_BYTES])
{
    struct stat s;
    char *slash;
    while (lstat(path, &s) && (slash = strrchr(path, '/')) && slash != path)
        *slash = 0;
}

static bool add_stamp(void *self, const char *folder, struct err *e)
{
    struct edition *n = self;
    struct timespec now;
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s", folder);
    go_up(path);
    for (size_t i = n->stamp_count; i > 0; i--)
        if (!strcmp(n->stamps[i - 1].path, path))
            return true;
    if (n->stamp_count == MOST_FOLDERS) {
        n->lasting = false;
        return true;
    }
    struct stamp s = look(path), *grown = mem_grow(n->stamps, &n->stamp_cap, n->stamp_count + 1, sizeof *grown);
    n->stamps = grown ? grown : n->stamps;
    if (!grown || !(s.path = mem_string(path)))
        return err_nomem(e, "the catalog of nodes");
    grown[n->stamp_count++] = s;
    clock_gettime(CLOCK_REALTIME, &now);
    double age_ms = (double)(now.tv_sec - s.changed.tv_sec) * 1e3 + (double)(now.tv_nsec - s.changed.tv_nsec) * 1e-6;
    n->lasting = n->lasting && (!s.there || age_ms > STEP_MS);
    return true;
}

/* --- making it --- */

/* Without memory for it there is no packed form. */
static void pack(struct edition *n)
{
    enum { GZIP = 16 + MAX_WBITS, LEVEL = 6, MEMORY = 8 };
    z_stream z = { 0 };
    if (deflateInit2(&z, LEVEL, Z_DEFLATED, GZIP, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return;
    size_t room = deflateBound(&z, n->text.length);
    n->gzip = mem_zeroed(room, 1);
    z.next_in = (unsigned char *)n->text.s;
    z.avail_in = (unsigned)n->text.length;
    z.next_out = n->gzip;
    z.avail_out = (unsigned)room;
    if (n->gzip && deflate(&z, Z_FINISH) == Z_STREAM_END)
        n->gzip_bytes = z.total_out;
    deflateEnd(&z);
    if (!n->gzip_bytes) {
        mem_free(n->gzip);
        n->gzip = NULL;
    }
}

static struct edition *make(struct catalog *c, const char *user, const struct flow_host *host, struct err *e)
{
    struct edition *n = mem_zeroed(1, sizeof *n);
    if (!n) {
        err_nomem(e, "the catalog of nodes");
        return NULL;
    }
    *n = (struct edition){ .holders = 1, .lasting = true };
    text_init(&n->text, ANSWER_MAX_BYTES);
    g_strlcpy(n->user, user, sizeof n->user);
    json_t *json = node_choice_folders(host, add_stamp, n, e) ? c->o.make(c->o.self, host, e) : NULL; /* stamps first */
    if (json)
        json_io_text(&n->text, json);
    bool good = json && text_ok(&n->text, e);
    json_decref(json);
    if (!good) {
        drop(n);
        return NULL;
    }
    gchar *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)text_string(&n->text), n->text.length);
    snprintf(n->tag, sizeof n->tag, "\"%.32s\"", sum);
    g_free(sum);
    pack(n);
    return n;
}

/* --- finding it --- */

/* The user's, held, or NULL. */
static struct edition *find(struct catalog *c, const char *user)
{
    struct edition *n = NULL;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < KEPT && !n; i++)
        if (c->kept[i] && !strcmp(c->kept[i]->user, user))
            n = c->kept[i];
    if (n) {
        n->holders++;
        n->used = ++c->turn;
    }
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* In the place of the user's older one, a free one, or that which was not asked for longest. */
static void keep(struct catalog *c, struct edition *n)
{
    struct edition **place = NULL;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < KEPT; i++) {
        struct edition **at = &c->kept[i];
        if (*at && !strcmp((*at)->user, n->user)) {
            place = at;
            break;
        }
        if (!place || (*place && (!*at || (*at)->used < (*place)->used)))
            place = at;
    }
    drop(*place);
    *place = n;
    n->holders++;
    n->used = ++c->turn;
    pthread_mutex_unlock(&c->lock);
}

bool catalog_answer(struct catalog *c, struct exchange *x, const struct flow_host *host, struct err *e)
{
    struct edition *n = find(c, x->user);
    if (n && !still_so(n)) {
        pthread_mutex_lock(&c->lock);
        drop(n);
        pthread_mutex_unlock(&c->lock);
        n = NULL;
    }
    if (!n) {
        if (!(n = make(c, x->user, host, e)))
            return false;
        if (n->lasting)
            keep(c, n);
    }
    const struct tagged answer = { "application/json; charset=utf-8", n->tag, text_string(&n->text), n->gzip, n->text.length, n->gzip_bytes };
    answer_tagged(x, &answer);
    pthread_mutex_lock(&c->lock);
    drop(n);
    pthread_mutex_unlock(&c->lock);
    return true;
}
