/* Results by content. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "flow/run_internal.h"

struct result *result_new(const struct node *n, struct err *e)
{
    struct result *r = mem_zeroed(1, sizeof *r);
    size_t count = node_output_count(n);
    if (r) {
        r->outputs = mem_zeroed(count ? count : 1, sizeof *r->outputs);
        r->holders = 1;
        r->count = count;
    }
    if (r && r->outputs)
        return r;
    mem_free(r);
    err_nomem(e, "a node's results");
    return NULL;
}

struct result *result_keep(struct result *r)
{
    r->holders++;
    return r;
}

void result_drop(struct result *r)
{
    if (!r || --r->holders)
        return;
    for (size_t i = 0; i < r->count; i++)
        datum_list_release(&r->outputs[i]);
    mem_free(r->outputs);
    json_decref(r->ui);
    mem_free(r);
}

void cache_release(struct cache *c)
{
    for (size_t i = 0; i < c->count; i++)
        result_drop(c->entries[i].result);
    mem_free(c->entries);
    c->entries = NULL;
    c->count = c->cap = 0;
}

static struct cache_entry *find(struct cache *c, const char *key)
{
    for (size_t i = 0; *key && i < c->count; i++)
        if (!strcmp(c->entries[i].key, key))
            return &c->entries[i];
    return NULL;
}

struct result *cache_find(struct cache *c, const char *key)
{
    struct cache_entry *entry = find(c, key);
    if (!entry)
        return NULL;
    entry->used = ++c->clock;
    return entry->result;
}

bool cache_add(struct cache *c, const char *key, const char *owner, struct result *r, struct err *e)
{
    if (c->how == FLOW_CACHE_NONE || !*key || find(c, key))
        return true;
    struct cache_entry *grown = mem_grow(c->entries, &c->cap, c->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "the cache of results");
    c->entries = grown;
    struct cache_entry *entry = &grown[c->count++];
    strcpy(entry->key, key);
    strcpy(entry->owner, owner);
    entry->result = result_keep(r);
    entry->used = ++c->clock;
    return true;
}

static int by_text(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *)item);
}

static void drop(struct cache *c, size_t i)
{
    result_drop(c->entries[i].result);
    c->entries[i] = c->entries[--c->count];
}

void cache_trim(struct cache *c, const char *const *keys, size_t count)
{
    /* An owner may itself be inside of another node: its entry, if it stays, keeps what it expanded to. */
    for (bool changed = true; changed && c->how == FLOW_CACHE_CLASSIC;) {
        changed = false;
        for (size_t i = 0; i < c->count;) {
            const struct cache_entry *entry = &c->entries[i];
            bool used = (count && bsearch(entry->key, keys, count, sizeof *keys, by_text)) ||
                        (*entry->owner && ((count && bsearch(entry->owner, keys, count, sizeof *keys, by_text)) || find(c, entry->owner)));
            if (used) {
                i++;
                continue;
            }
            drop(c, i);
            changed = true;
        }
    }
    while (c->how == FLOW_CACHE_RECENT && c->count > c->most) {
        size_t oldest = 0;
        for (size_t i = 1; i < c->count; i++)
            oldest = c->entries[i].used < c->entries[oldest].used ? i : oldest;
        drop(c, oldest);
    }
}
