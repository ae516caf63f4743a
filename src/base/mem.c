#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static size_t made, failing;

static bool refused(void)
{
    size_t n = __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
    return failing && n == failing;
}

size_t mem_fail_at(size_t n)
{
    size_t before = made;
    made = 0;
    failing = n;
    return before;
}

void *mem_zeroed(size_t count, size_t each_bytes)
{
    return refused() ? NULL : calloc(count ? count : 1, each_bytes ? each_bytes : 1);
}

void *mem_aligned(size_t bytes)
{
    size_t rounded = (bytes + 63) & ~(size_t)63;
    if (rounded < bytes || refused())
        return NULL;
    return aligned_alloc(64, rounded ? rounded : 64);
}

void *mem_pages(size_t bytes)
{
    if (refused())
        return NULL;
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, bytes, MADV_HUGEPAGE); /* advice: a refusal costs speed only */
    return p;
}

void mem_pages_free(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes ? bytes : 1);
}

void *mem_grow(void *p, size_t *cap, size_t need, size_t each_bytes)
{
    if (need <= *cap && p)
        return p;
    size_t want = *cap ? *cap : 8;
    while (want < need) {
        if (want > SIZE_MAX / 2)
            return NULL;
        want *= 2;
    }
    if (want > SIZE_MAX / each_bytes || refused())
        return NULL;
    void *grown = realloc(p, want * each_bytes);
    if (grown)
        *cap = want;
    return grown;
}

char *mem_string(const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *copy = refused() ? NULL : malloc(bytes);
    return copy ? memcpy(copy, s, bytes) : NULL;
}

void mem_free(void *p)
{
    free(p);
}

/* The number behind `key` at the beginning of a line; SIZE_MAX if there is none (or the word "max"). */
static size_t number_in(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return SIZE_MAX;
    char line[256], *end;
    size_t number = SIZE_MAX, length = strlen(key);
    while (number == SIZE_MAX && fgets(line, sizeof line, f))
        if (!strncmp(line, key, length)) {
            unsigned long long v = strtoull(line + length, &end, 10);
            if (end != line + length)
                number = v;
        }
    fclose(f);
    return number;
}

static size_t kib_in(const char *path, const char *key)
{
    size_t kib = number_in(path, key);
    return kib == SIZE_MAX ? 0 : kib * 1024;
}

size_t mem_peak_rss(void)
{
    return kib_in("/proc/self/status", "VmHWM:");
}

size_t mem_rss(void)
{
    return kib_in("/proc/self/status", "VmRSS:");
}

/* Control groups, version 2, as a container sees its own: cached files can be dropped, so they do not count. */
static size_t group_leaves(void)
{
    size_t most = number_in("/sys/fs/cgroup/memory.max", ""), now = number_in("/sys/fs/cgroup/memory.current", "");
    size_t files = number_in("/sys/fs/cgroup/memory.stat", "file ");
    if (most == SIZE_MAX || now == SIZE_MAX)
        return SIZE_MAX;
    now -= files < now ? files : 0;
    return now < most ? most - now : 1;
}

size_t mem_available(void)
{
    size_t system = kib_in("/proc/meminfo", "MemAvailable:"), group = group_leaves();
    return system && group < system ? group : system;
}
