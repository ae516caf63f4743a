/* The table of ops, what the machine can do, and the door to graph/backend.h. */
#include "backend/cpu/cpu_internal.h"

#include <cpuid.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

extern const struct cpu_op cpu_matmul, cpu_conv2d, cpu_conv2d_grad_x, cpu_conv2d_grad_w, cpu_attention, cpu_attention_grad;
extern const struct cpu_op cpu_binary, cpu_scale, cpu_clamp, cpu_clamp_grad, cpu_unary, cpu_unary_grad, cpu_gated, cpu_gated_grad;
extern const struct cpu_op cpu_group_norm, cpu_group_norm_grad, cpu_layer_norm, cpu_layer_norm_grad, cpu_rms_norm, cpu_rms_norm_grad, cpu_softmax, cpu_softmax_grad;
extern const struct cpu_op cpu_upsample, cpu_avg_pool, cpu_concat, cpu_slice, cpu_place, cpu_cast, cpu_sum_to, cpu_expand;
extern const struct cpu_op cpu_sum_squares, cpu_rotary, cpu_embedding, cpu_embedding_grad, cpu_timestep_embedding;
extern const struct cpu_op cpu_accumulate, cpu_adamw, cpu_adamw8, cpu_lion, cpu_adafactor, cpu_adafactor_whole, cpu_prodigy_measure, cpu_prodigy, cpu_ema;

static const struct cpu_op *const ops[OP_COUNT] = {
    [OP_MATMUL] = &cpu_matmul,
    [OP_CONV2D] = &cpu_conv2d,
    [OP_CONV2D_GRAD_X] = &cpu_conv2d_grad_x,
    [OP_CONV2D_GRAD_W] = &cpu_conv2d_grad_w,
    [OP_ADD] = &cpu_binary,
    [OP_SUB] = &cpu_binary,
    [OP_MUL] = &cpu_binary,
    [OP_DIV] = &cpu_binary,
    [OP_SCALE] = &cpu_scale,
    [OP_CLAMP] = &cpu_clamp,
    [OP_CLAMP_GRAD] = &cpu_clamp_grad,
    [OP_UNARY] = &cpu_unary,
    [OP_UNARY_GRAD] = &cpu_unary_grad,
    [OP_GATED] = &cpu_gated,
    [OP_GATED_GRAD] = &cpu_gated_grad,
    [OP_GROUP_NORM] = &cpu_group_norm,
    [OP_GROUP_NORM_GRAD] = &cpu_group_norm_grad,
    [OP_LAYER_NORM] = &cpu_layer_norm,
    [OP_LAYER_NORM_GRAD] = &cpu_layer_norm_grad,
    [OP_SOFTMAX] = &cpu_softmax,
    [OP_SOFTMAX_GRAD] = &cpu_softmax_grad,
    [OP_RMS_NORM] = &cpu_rms_norm,
    [OP_RMS_NORM_GRAD] = &cpu_rms_norm_grad,
    [OP_ROTARY] = &cpu_rotary,
    [OP_ATTENTION] = &cpu_attention,
    [OP_ATTENTION_GRAD] = &cpu_attention_grad,
    [OP_UPSAMPLE] = &cpu_upsample,
    [OP_AVG_POOL] = &cpu_avg_pool,
    [OP_CONCAT] = &cpu_concat,
    [OP_SLICE] = &cpu_slice,
    [OP_PLACE] = &cpu_place,
    [OP_CAST] = &cpu_cast,
    [OP_SUM_TO] = &cpu_sum_to,
    [OP_EXPAND] = &cpu_expand,
    [OP_SUM_SQUARES] = &cpu_sum_squares,
    [OP_EMBEDDING] = &cpu_embedding,
    [OP_EMBEDDING_GRAD] = &cpu_embedding_grad,
    [OP_TIMESTEP_EMBEDDING] = &cpu_timestep_embedding,
    [OP_ACCUMULATE] = &cpu_accumulate,
    [OP_ADAMW] = &cpu_adamw,
    [OP_ADAMW8] = &cpu_adamw8,
    [OP_LION] = &cpu_lion,
    [OP_ADAFACTOR] = &cpu_adafactor,
    [OP_ADAFACTOR_WHOLE] = &cpu_adafactor_whole,
    [OP_PRODIGY_MEASURE] = &cpu_prodigy_measure,
    [OP_PRODIGY] = &cpu_prodigy,
    [OP_EMA] = &cpu_ema,
};

#define SET(isa) { &elementwise_##isa, &convert_##isa, &quant_##isa, &norm_##isa, &reduce_##isa, &update_##isa }
static const struct kind {
    const char *name;
    dnnl_cpu_isa_t dnnl;
    struct kernels kernels;
} kinds[ISA_COUNT] = {
    [ISA_V2] = { "v2", dnnl_cpu_isa_sse41, SET(v2) },
    [ISA_V3] = { "v3", dnnl_cpu_isa_avx2, SET(v3) },
    [ISA_V4] = { "v4", dnnl_cpu_isa_avx512_core_vnni, SET(v4) },
    [ISA_BF16] = { "bf16", dnnl_cpu_isa_avx512_core_bf16, SET(bf16) },
    [ISA_AMX] = { "amx", dnnl_cpu_isa_avx512_core_amx, SET(amx) },
};

/* Linux hands out the tile registers only to a process that asks (arch/x86/kernel/fpu/xstate.c). */
static bool tiles_permitted(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* What x86-64-v3 and v4 mean is in the x86-64 psABI; __builtin_cpu_supports also asks whether the system saves the
 * wide registers. */
static enum isa best_isa(void)
{
    enum { FMA = 1 << 12, MOVBE = 1 << 22, F16C = 1 << 29, BMI1 = 1 << 3, BMI2 = 1 << 8 };
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 };
    unsigned a, b, c, d, b7, c7, d7;
    __builtin_cpu_init();
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & FMA) == 0 || (c & MOVBE) == 0 || (c & F16C) == 0)
        return ISA_V2;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || (b7 & BMI1) == 0 || (b7 & BMI2) == 0 ||
        !__builtin_cpu_supports("avx2"))
        return ISA_V2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return ISA_V3;
    if (!__builtin_cpu_supports("avx512bf16"))
        return ISA_V4;
    if ((d7 & AMX_BF16) == 0 || (d7 & AMX_TILE) == 0 || !tiles_permitted())
        return ISA_BF16;
    return ISA_AMX;
}

static enum isa isa_of_name(const char *name)
{
    enum isa i = ISA_V2;
    while (i < ISA_COUNT && strcmp(kinds[i].name, name))
        i++;
    return i;
}

bool backend_cpu_supports(const char *isa)
{
    return isa_of_name(isa) <= best_isa();
}

static bool can(const struct backend *b, const struct op_call *call)
{
    const struct cpu_op *op = ops[call->node->op];
    return op && op->can(call);
}

static bool prepare(const struct backend *b, struct op_call *call, struct err *e)
{
    const struct cpu_op *op = ops[call->node->op];
    if (!op || !op->can(call))
        return err_set(e, ERR_TYPE, "the cpu backend cannot run %s", op_text(call->graph, call->node).s);
    return !op->prepare || op->prepare(b->self, call, e);
}

static bool pack(const struct backend *b, const struct op_call *call, int index, const void *src, void *packed,
                 struct err *e)
{
    return ops[call->node->op]->pack(b->self, call, index, src, packed, e);
}

static bool run(const struct backend *b, struct op_call *call, struct err *e)
{
    return ops[call->node->op]->run(b->self, call, e);
}

static void release(const struct backend *b, struct op_call *call)
{
    const struct cpu_op *op = ops[call->node->op];
    if (op && op->release)
        op->release(call);
}

static bool choose_isa(const char *name, enum isa *isa, struct err *e)
{
    enum isa best = best_isa();
    if (!name)
        name = getenv("LIMN_ISA");
    if (!name || !*name) {
        *isa = best;
        return true;
    }
    *isa = isa_of_name(name);
    if (*isa == ISA_COUNT)
        return err_set(e, ERR_ARG, "no kind of processor is called \"%s\": v2, v3, v4, bf16 or amx", name);
    if (*isa > best)
        return err_set(e, ERR_ARG, "this machine has no kernels of kind %s: its best is %s", name, kinds[best].name);
    if (*isa < best)
        (void)dnnl_set_max_cpu_isa(kinds[*isa].dnnl); /* refused after oneDNN's first use: then it keeps its choice */
    return true;
}

const struct backend *backend_cpu_new(int threads, const char *isa, struct err *e)
{
    enum { MOST_THREADS = 1024 };
    enum isa chosen;
    if (threads < 0 || threads > MOST_THREADS) {
        err_set(e, ERR_ARG, "%d threads: want 1 to %d, or 0 for all cores", threads, MOST_THREADS);
        return NULL;
    }
    if (!choose_isa(isa, &chosen, e))
        return NULL;
    struct cpu *cpu = mem_zeroed(1, sizeof *cpu);
    if (!cpu) {
        err_nomem(e, "the cpu backend");
        return NULL;
    }
    /* oneDNN takes its thread count from OpenMP's default; a team that shrinks by itself would change sums. */
    if (threads)
        omp_set_num_threads(threads);
    omp_set_dynamic(0);
    *cpu = (struct cpu){ .threads = threads ? threads : omp_get_max_threads(), .isa = chosen,
                         .kernels = &kinds[chosen].kernels };
    cpu->backend = (struct backend){ .name = "cpu", .self = cpu, .can = can, .prepare = prepare, .pack = pack,
                                     .run = run, .release = release };
    if (dnnl_engine_create(&cpu->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&cpu->stream, cpu->engine, dnnl_stream_default_flags) != dnnl_success) {
        err_set(e, ERR_BACKEND, "oneDNN gives no engine for this processor");
        backend_cpu_free(&cpu->backend);
        return NULL;
    }
    return &cpu->backend;
}

void backend_cpu_free(const struct backend *b)
{
    if (!b)
        return;
    struct cpu *cpu = b->self;
    if (cpu->stream)
        dnnl_stream_destroy(cpu->stream);
    if (cpu->engine)
        dnnl_engine_destroy(cpu->engine);
    mem_free(cpu);
}

const char *backend_cpu_isa(const struct backend *b)
{
    return kinds[((const struct cpu *)b->self)->isa].name;
}

int backend_cpu_threads(const struct backend *b)
{
    return ((const struct cpu *)b->self)->threads;
}
