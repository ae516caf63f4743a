#include "serve/guard.h"

#include <ctype.h>
#include <glib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"

enum { ADDRESSES = 1024 };
/* How much an address may still do: filled at `rate` a minute up to `rate`. */
struct bucket {
    char address[48];
    double left, when;
};
struct guard {
    struct guard_options o;
    pthread_mutex_t lock; /* of the buckets */
    struct bucket buckets[ADDRESSES];
};

struct guard *guard_new(const struct guard_options *options, struct err *e)
{
    struct guard *g = mem_zeroed(1, sizeof *g);
    if (!g) {
        err_nomem(e, "the guard of requests");
        return NULL;
    }
    g->o = *options;
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

void guard_free(struct guard *g)
{
    if (g)
        pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

bool guard_make_token(char out[44], struct err *e)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[43];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_errno(e, "the system gives no random bytes for a token");
    for (size_t i = 0; i < sizeof bytes; i++)
        out[i] = letters[bytes[i] & 63];
    out[sizeof bytes] = 0;
    return true;
}

/* Name and port of "name:port", "[v6]:port" or "name"; the port's text may be empty. */
static void split_host(const char *host, const char **name, size_t *bytes, const char **port)
{
    const char *end = *host == '[' ? strchr(host, ']') : NULL;
    end = end ? end + 1 : host + strcspn(host, ":");
    *name = host;
    *bytes = (size_t)(end - host);
    *port = *end == ':' ? end + 1 : end;
}

bool guard_is_loopback(const char *host)
{
    const char *name, *port;
    size_t n;
    split_host(host, &name, &n, &port);
    static const char local[] = "localhost";
    size_t l = sizeof local - 1;
    if (n && name[n - 1] == '.') /* the root's dot */
        n--;
    if ((n == l && !strncasecmp(name, local, l)) || (n > l + 1 && name[n - l - 1] == '.' && !strncasecmp(name + n - l, local, l)))
        return true;
    if (n == 5 && !strncmp(name, "[::1]", 5))
        return true;
    int dots = 0, digits = 0;
    for (size_t i = 0; i < n; i++) {
        dots += name[i] == '.';
        digits += isdigit((unsigned char)name[i]) != 0;
    }
    return n > 4 && !strncmp(name, "127.", 4) && dots == 3 && (size_t)(dots + digits) == n;
}

static bool host_allowed(const struct guard *g, const char *host)
{
    const char *name, *port;
    size_t n;
    if (!host || !g->o.loopback || guard_is_loopback(host))
        return true; /* elsewhere the token keeps strangers out, whatever name they found */
    split_host(host, &name, &n, &port);
    for (const char *const *h = g->o.hosts; h && *h; h++)
        if (strlen(*h) == n && !strncasecmp(*h, name, n))
            return true;
    return false;
}

/* Whether an Origin is the server's own, as the Host header calls it. Ports count only where both have one. */
static bool same_origin(const char *origin, const char *host)
{
    const char *there = strstr(origin, "://"), *a, *a_port, *b, *b_port;
    size_t a_bytes, b_bytes;
    if (!there)
        return false; /* "null": a page from nowhere */
    split_host(there + 3, &a, &a_bytes, &a_port);
    split_host(host, &b, &b_bytes, &b_port);
    return a_bytes == b_bytes && !strncasecmp(a, b, a_bytes) && (!*a_port || !*b_port || !strcmp(a_port, b_port));
}

static bool origin_allowed(const struct guard *g, const struct guard_request *r)
{
    if (g->o.cors && (!strcmp(g->o.cors, "*") || (r->origin && !strcasecmp(g->o.cors, r->origin))))
        return true;
    if (r->origin && r->host && !same_origin(r->origin, r->host))
        return false;
    /* requests without an Origin that a page of another site causes: pictures, forms; links may be followed */
    bool crossing = r->fetch_site && !strcmp(r->fetch_site, "cross-site");
    return !crossing || (r->fetch_mode && !strcmp(r->fetch_mode, "navigate") && !strcmp(r->method, "GET"));
}

/* In a time that does not depend on where they differ. */
static bool same_secret(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned differ = n != m;
    for (size_t i = 0; i < m; i++)
        differ |= (unsigned char)(n ? a[i % n] : 0) ^ (unsigned char)b[i];
    return !differ;
}

/* "Bearer TOKEN", or "Basic ..." with the token as the password: what browsers can send. */
static bool authorized(const struct guard *g, const char *header)
{
    if (!header)
        return false;
    if (!strncasecmp(header, "Bearer ", 7))
        return same_secret(header + 7 + strspn(header + 7, " "), g->o.token);
    if (strncasecmp(header, "Basic ", 6) || strlen(header) > 1024)
        return false;
    gsize bytes = 0;
    guchar *decoded = g_base64_decode(header + 6, &bytes);
    char text[1024] = "";
    if (decoded && bytes < sizeof text)
        memcpy(text, decoded, bytes);
    g_free(decoded);
    char *colon = strchr(text, ':');
    return colon && same_secret(colon + 1, g->o.token);
}

/* One work from the address's bucket; 0, or the seconds until there is one. */
static int take(struct guard *g, const char *address)
{
    double now = clock_seconds(), rate = g->o.rate / 60.0;
    struct bucket *mine = NULL, *oldest = &g->buckets[0];
    pthread_mutex_lock(&g->lock);
    for (int i = 0; i < ADDRESSES && !mine; i++) {
        struct bucket *b = &g->buckets[i];
        if (!strcmp(b->address, address))
            mine = b;
        if (b->when < oldest->when)
            oldest = b;
    }
    if (!mine) {
        mine = oldest;
        *mine = (struct bucket){ .left = g->o.rate, .when = now };
        g_strlcpy(mine->address, address, sizeof mine->address);
    }
    mine->left += (now - mine->when) * rate;
    mine->when = now;
    if (mine->left > g->o.rate)
        mine->left = g->o.rate;
    int wait = mine->left >= 1 ? 0 : 1 + (int)((1 - mine->left) / rate);
    if (!wait)
        mine->left--;
    pthread_mutex_unlock(&g->lock);
    return wait;
}

enum guard_verdict guard_ask(struct guard *g, const struct guard_request *r, bool open, bool work, int *wait_seconds)
{
    *wait_seconds = 0;
    if (!host_allowed(g, r->host))
        return GUARD_WRONG_HOST;
    if (!origin_allowed(g, r))
        return GUARD_WRONG_ORIGIN;
    if (g->o.token && !open && !authorized(g, r->authorization) && !(r->query_token && same_secret(r->query_token, g->o.token)))
        return GUARD_NO_TOKEN;
    if (work && g->o.rate && (*wait_seconds = take(g, r->address)))
        return GUARD_TOO_OFTEN;
    return GUARD_GOOD;
}
