/* The CPU backend: oneDNN for matrix products and convolutions, our own SIMD kernels for the rest, chosen by cpuid when
 * the backend is made. One binary runs on any x86-64-v2 machine. */
#ifndef LIMN_BACKEND_CPU_CPU_H
#define LIMN_BACKEND_CPU_CPU_H

#include "graph/backend.h"

/* A backend that works with `threads` threads; 0 means one per core that this process may use (or OMP_NUM_THREADS).
 * isa: "v2", "v3", "v4", "bf16" or "amx" forces the kernels of a lower kind of processor (for tests); NULL takes the
 * environment variable LIMN_ISA if it is set, else the best of this machine. oneDNN is held to the same kind, but only
 * if this is the first backend of the process: it asks once.
 * Results have the same bits for the same thread count and kind. Free with backend_cpu_free.
 * errors  ERR_ARG for an unknown or unsupported isa or a silly thread count, ERR_BACKEND, ERR_NOMEM. */
MUST_USE const struct backend *backend_cpu_new(int threads, const char *isa, struct err *e);
void backend_cpu_free(const struct backend *b);

/* "amx" and so on, and how many threads; for logs. */
const char *backend_cpu_isa(const struct backend *b);
int backend_cpu_threads(const struct backend *b);

/* Whether this machine can run kernels of this kind. */
bool backend_cpu_supports(const char *isa);

#endif
