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

static size_t status_kib(const char *key)
{
    FILE *f = fopen("/proc/self/status", "r");
    if (!f)
        return 0;
    char line[256];
    size_t kib = 0, length = strlen(key);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, key, length)) {
            kib = strtoull(line + length, NULL, 10);
            break;
        }
    fclose(f);
    return kib * 1024;
}

size_t mem_peak_rss(void)
{
    return status_kib("VmHWM:");
}

size_t mem_rss(void)
{
    return status_kib("VmRSS:");
}
