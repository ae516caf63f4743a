/* What the ops share: conversions, small operands in f32, and shapes with repeated dimensions. */
#include "backend/cpu/cpu_internal.h"

static void to_f32(const struct cpu *cpu, float *y, const void *x, enum dtype from, int64_t count)
{
    const struct convert_kernels *k = cpu->kernels->convert;
    if (from == DTYPE_BF16)
        k->bf16_to_f32(y, x, count);
    else if (from == DTYPE_F16 && k->f16_to_f32)
        k->f16_to_f32(y, x, count);
    else if (dtype_is_quantised(from))
        cpu->kernels->quant->unpack(y, x, from, count);
    else
        (void)dtype_convert(y, DTYPE_F32, x, from, (size_t)count); /* can() let only convertible types in */
}

static void from_f32(const struct cpu *cpu, void *y, enum dtype to, const float *x, int64_t count)
{
    const struct convert_kernels *k = cpu->kernels->convert;
    if (to == DTYPE_BF16)
        k->f32_to_bf16(y, x, count);
    else if (to == DTYPE_F16 && k->f32_to_f16)
        k->f32_to_f16(y, x, count);
    else
        (void)dtype_convert(y, to, x, DTYPE_F32, (size_t)count);
}

void cpu_convert(const struct cpu *cpu, void *y, enum dtype to, const void *x, enum dtype from, int64_t count)
{
    if (to == from) {
        memcpy(y, x, dtype_span(to, count));
    } else if (to == DTYPE_F32) {
        to_f32(cpu, y, x, from, count);
    } else if (from == DTYPE_F32) {
        from_f32(cpu, y, to, x, count);
    } else {
        enum { CHUNK = 1024 }; /* whole blocks of every type */
        float numbers[CHUNK] __attribute__((aligned(64)));
        for (int64_t i = 0; i < count; i += CHUNK) {
            int64_t n = cpu_least(CHUNK, count - i);
            to_f32(cpu, numbers, (const char *)x + dtype_span(from, i), from, n);
            from_f32(cpu, (char *)y + i * (int64_t)dtype_bytes(to), to, numbers, n);
        }
    }
}

void cpu_f32_prepare(struct op_call *call, int index)
{
    size_t bytes = cpu_round((size_t)shape_count(call->in[index].shape) * sizeof(float));
    if (call->in[index].type == DTYPE_F32)
        return;
    if (call->is_constant[index])
        call->packed_bytes[index] = bytes;
    else
        call->scratch_bytes += bytes;
}

bool cpu_f32_pack(const struct cpu *cpu, const struct op_call *call, int index, const void *src, void *packed,
                  struct err *e)
{
    cpu_convert(cpu, packed, DTYPE_F32, src, call->in[index].type, shape_count(call->in[index].shape));
    return true;
}

const float *cpu_f32_input(const struct cpu *cpu, const struct op_call *call, int index, char **scratch)
{
    const struct tensor *in = &call->in[index];
    if (in->type == DTYPE_F32 || call->packed_bytes[index])
        return in->data;
    float *numbers = (float *)*scratch;
    int64_t count = shape_count(in->shape);
    *scratch += cpu_round((size_t)count * sizeof *numbers);
    if (count < CPU_SMALL) {
        cpu_convert(cpu, numbers, DTYPE_F32, in->data, in->type, count);
        return numbers;
    }
#pragma omp parallel num_threads(cpu->threads)
    {
        struct span part = cpu_my_part(count, 1024); /* whole blocks of every type */
        cpu_convert(cpu, numbers + part.begin, DTYPE_F32, cpu_at(in, part.begin), in->type, part.end - part.begin);
    }
    return numbers;
}

struct collapsed cpu_collapse(struct shape big, struct shape small)
{
    struct collapsed c = { 0 };
    int64_t stride[SHAPE_MAX_RANK], next = 1;
    for (int i = big.rank - 1; i >= 0; i--) {
        stride[i] = small.dim[i] == big.dim[i] ? next : 0;
        next *= small.dim[i];
    }
    for (int i = 0; i < big.rank; i++) {
        if (big.dim[i] == 1)
            continue;
        if (c.rank && (c.small_stride[c.rank - 1] != 0) == (stride[i] != 0)) {
            c.dim[c.rank - 1] *= big.dim[i];
            c.small_stride[c.rank - 1] = stride[i];
        } else {
            c.dim[c.rank] = big.dim[i];
            c.small_stride[c.rank++] = stride[i];
        }
    }
    if (!c.rank) {
        c.rank = 1;
        c.dim[0] = c.small_stride[0] = 1;
    }
    return c;
}
