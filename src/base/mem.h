/* Memory: every allocation of ours goes through here, so that a test can make the n-th one fail. */
#ifndef LIMN_BASE_MEM_H
#define LIMN_BASE_MEM_H

#include <stddef.h>

#include "base/err.h"

/* Bytes of zeros, or NULL. Free with mem_free. */
MUST_USE void *mem_zeroed(size_t count, size_t each_bytes);

/* Uninitialised bytes aligned to 64 (a cache line, an AVX-512 register, an AMX row), or NULL. Free with mem_free. */
MUST_USE void *mem_aligned(size_t bytes);

/* Large blocks (arenas, packed weights): page aligned, zeroed by the system, given back to it by mem_pages_free. */
MUST_USE void *mem_pages(size_t bytes);
void mem_pages_free(void *p, size_t bytes);

/* Grows `p` (NULL is a start) so that it holds at least `need` items of `each_bytes`; *cap is in items and doubles.
 * On failure returns NULL and p is as it was. */
MUST_USE void *mem_grow(void *p, size_t *cap, size_t need, size_t each_bytes);

/* A copy of the string, or NULL. */
MUST_USE char *mem_string(const char *s);

void mem_free(void *p);

/* Tests only: the n-th allocation from now fails (1 is the next); 0 turns that off. Returns how many allocations
 * were made since the last call. Not thread-safe: call it while one thread runs. */
size_t mem_fail_at(size_t n);

/* The process's peak resident memory so far, in bytes (Linux VmHWM), and its present one (VmRSS). 0 if unknown. */
size_t mem_peak_rss(void);
size_t mem_rss(void);
/* Bytes that may still be taken without swapping: the system's estimate (MemAvailable) or what this process's control group
 * leaves, whichever is less. Cached files count as free. 0 if unknown. */
size_t mem_available(void);

#endif
