/* What the files of this folder share: the state of a backend, the form of an op, and how work is cut for threads. */
#ifndef LIMN_BACKEND_CPU_CPU_INTERNAL_H
#define LIMN_BACKEND_CPU_CPU_INTERNAL_H

#include <dnnl.h>
#include <omp.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/kernels/kernels.h"

/* Kinds of processor, each a superset of the one before (kernel_flags in meson.build). */
enum isa { ISA_V2, ISA_V3, ISA_V4, ISA_BF16, ISA_AMX, ISA_COUNT };

struct cpu {
    struct backend backend; /* backend.self is this struct */
    int threads;
    enum isa isa;
    const struct kernels *kernels; /* of that isa */
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

/* One op. Every function but can and run may be NULL. The same contracts as in graph/backend.h. */
struct cpu_op {
    bool (*can)(const struct op_call *call);
    bool (*prepare)(const struct cpu *cpu, struct op_call *call, struct err *e);
    bool (*pack)(const struct cpu *cpu, const struct op_call *call, int index, const void *src, void *packed,
                 struct err *e);
    bool (*run)(const struct cpu *cpu, struct op_call *call, struct err *e);
    void (*release)(struct op_call *call);
};

/* Work smaller than this is done by one thread: waking the others costs as much as adding some ten thousand numbers. */
enum { CPU_SMALL = 16384 };

/* How many threads for work on this many numbers: one or all (a team of another size would be built anew). */
static inline int cpu_team(const struct cpu *cpu, int64_t elements)
{
    return elements < CPU_SMALL ? 1 : cpu->threads;
}

struct span {
    int64_t begin, end;
};

/* Part `index` of `parts` of [0, n), with borders at multiples of grain. The same for the same arguments: determinism. */
static inline struct span cpu_part(int64_t n, int64_t grain, int64_t index, int64_t parts)
{
    int64_t blocks = (n + grain - 1) / grain;
    int64_t begin = blocks * index / parts * grain, end = blocks * (index + 1) / parts * grain;
    return (struct span){ begin < n ? begin : n, end < n ? end : n };
}

/* The part of the calling thread in its team. */
static inline struct span cpu_my_part(int64_t n, int64_t grain)
{
    return cpu_part(n, grain, omp_get_thread_num(), omp_get_num_threads());
}

static inline int64_t cpu_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* f32 or bf16: the activation types of this backend. */
static inline bool cpu_is_activation(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_BF16;
}

/* A floating type that numbers can be written in, and one that they can be read from. */
static inline bool cpu_is_float(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_BF16 || t == DTYPE_F16 || t == DTYPE_F64;
}

static inline bool cpu_is_readable(enum dtype t)
{
    return cpu_is_float(t) || t == DTYPE_F8_E4M3 || t == DTYPE_F8_E5M2;
}

/* Types for storage that are smaller than what is computed in: a weight stays as it is and is converted into scratch at each
 * run, since a packed form would be the larger copy. */
static inline bool cpu_is_narrow(enum dtype t)
{
    return t == DTYPE_F8_E4M3 || t == DTYPE_F8_E5M2 || dtype_is_quantised(t);
}

/* Element `at` of an array; of a quantised one the first of a block. */
static inline void *cpu_at(const struct tensor *t, int64_t at)
{
    return (char *)t->data + dtype_span(t->type, at);
}

/* Rounds bytes up so that what follows is aligned to 64. */
static inline size_t cpu_round(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

/* y[i] = x[i], count elements of any floating types (x also of an integer type, or whole blocks of a quantised one), in the
 * calling thread. */
void cpu_convert(const struct cpu *cpu, void *y, enum dtype to, const void *x, enum dtype from, int64_t count);

/* Small operands (gamma, beta, bias, a broadcast b) that kernels want in f32.
 * cpu_f32_prepare: packs input `index` if it is constant and not f32; if it changes, adds room to scratch_bytes.
 * cpu_f32_pack: the pack function that belongs to it.
 * cpu_f32_input: where the numbers are; *scratch moves on if it was needed. Call in the order of prepare. */
void cpu_f32_prepare(struct op_call *call, int index);
bool cpu_f32_pack(const struct cpu *cpu, const struct op_call *call, int index, const void *src, void *packed,
                  struct err *e);
const float *cpu_f32_input(const struct cpu *cpu, const struct op_call *call, int index, char **scratch);

/* Dimensions of `big`, merged where `small` treats them alike: it has them too, or it is 1 there and repeats.
 * small_stride is in elements of small, 0 where it repeats. Dimensions of size 1 are gone; rank is at least 1. Neighbours
 * alternate between the two kinds. */
struct collapsed {
    int rank;
    int64_t dim[SHAPE_MAX_RANK], small_stride[SHAPE_MAX_RANK];
};
struct collapsed cpu_collapse(struct shape big, struct shape small);

#endif
