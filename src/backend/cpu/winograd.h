/* 3x3 convolutions and their gradients by Winograd's minimal filtering (kernels/winograd.h): a quarter of the products, in f32
 * whatever the activations are. For f32 everywhere, for bf16 where the processor has no tile unit. */
#ifndef LIMN_BACKEND_CPU_WINOGRAD_H
#define LIMN_BACKEND_CPU_WINOGRAD_H

#include "backend/cpu/cpu_internal.h"

/* Whether conv2d, conv2d_grad_x or conv2d_grad_w is done so: it can be, and it is faster. The same answer for the same call. */
bool winograd_takes(const struct cpu *cpu, const struct op_call *call);
void winograd_prepare(const struct cpu *cpu, struct op_call *call);
void winograd_run(const struct cpu *cpu, const struct op_call *call);

#endif
