/* The samplers there are. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "sampler/sampler_internal.h"

/* A line a sampler: name, help, then what it uses: a schedule (but for "model"), eta, the output without guidance. Each method_k_
 * is defined at the end of the file of its family. */
#define SAMPLERS(X)                                                                                                              \
    X(ddim, euler, "deterministic; in ComfyUI's sigmas the same as euler", 0, 0)                                                 \
    X(euler, euler, "one slope a step; plain and steady", 0, 0)                                                                  \
    X(euler_cfg_pp, euler_cfg_pp, "euler with CFG++: for cfg 1 to 2", 0, 1)                                                      \
    X(euler_ancestral, euler_ancestral, "euler with fresh noise each step; more steps change the picture", 1, 0)                 \
    X(euler_ancestral_cfg_pp, euler_ancestral_cfg_pp, "euler_ancestral with CFG++: for cfg 1 to 2", 1, 1)                        \
    X(heun, heun, "two model calls a step; accurate and slow", 0, 0)                                                             \
    X(heunpp2, heunpp2, "heun with a look two steps ahead; up to three model calls a step", 0, 0)                                \
    X(dpm_2, dpm_2, "DPM-Solver-2; two model calls a step", 0, 0)                                                                \
    X(dpm_2_ancestral, dpm_2_ancestral, "dpm_2 with fresh noise each step", 1, 0)                                                \
    X(lms, lms, "fourth order from four steps", 0, 0)                                                                            \
    X(dpm_fast, dpm_fast, "DPM-Solver-3 in as many model calls as steps; leaves a little noise", 0, 0)                           \
    X(dpm_adaptive, dpm_adaptive, "DPM-Solver that chooses its own steps: --steps only says where it ends", 0, 0)                \
    X(dpmpp_2s_ancestral, dpmpp_2s_ancestral, "DPM-Solver++ with fresh noise; two model calls a step", 1, 0)                     \
    X(dpmpp_2s_ancestral_cfg_pp, dpmpp_2s_ancestral_cfg_pp, "dpmpp_2s_ancestral with CFG++: for cfg 1 to 2", 1, 1)               \
    X(dpmpp_sde, dpmpp_sde, "DPM-Solver++ of the stochastic equation; two model calls a step", 1, 0)                             \
    X(dpmpp_sde_gpu, dpmpp_sde_gpu, "dpmpp_sde with the noise that a GPU draws", 1, 0)                                           \
    X(dpmpp_2m, dpmpp_2m, "second order from two steps; good in 15 to 30 steps", 0, 0)                                           \
    X(dpmpp_2m_cfg_pp, dpmpp_2m_cfg_pp, "dpmpp_2m with CFG++: for cfg 1 to 2", 0, 1)                                             \
    X(dpmpp_2m_sde, dpmpp_2m_sde, "dpmpp_2m with fresh noise each step", 1, 0)                                                   \
    X(dpmpp_2m_sde_gpu, dpmpp_2m_sde_gpu, "dpmpp_2m_sde with the noise that a GPU draws", 1, 0)                                  \
    X(dpmpp_2m_sde_heun, dpmpp_2m_sde_heun, "dpmpp_2m_sde with Heun's second order", 1, 0)                                       \
    X(dpmpp_2m_sde_heun_gpu, dpmpp_2m_sde_heun_gpu, "dpmpp_2m_sde_heun with the noise that a GPU draws", 1, 0)                   \
    X(dpmpp_3m_sde, dpmpp_3m_sde, "third order from three steps, with fresh noise; for 30 steps and more", 1, 0)                 \
    X(dpmpp_3m_sde_gpu, dpmpp_3m_sde_gpu, "dpmpp_3m_sde with the noise that a GPU draws", 1, 0)                                  \
    X(ddpm, ddpm, "the first diffusion sampler; fresh noise, many steps", 0, 0)                                                  \
    X(lcm, lcm, "new noise on each x0: for LCM and Turbo models, 1 to 8 steps", 0, 0)                                            \
    X(ipndm, ipndm, "fourth order from four steps of equal length", 0, 0)                                                        \
    X(ipndm_v, ipndm_v, "ipndm for steps of unequal length", 0, 0)                                                               \
    X(deis, deis, "third order in the time of the training process", 0, 0)                                                       \
    X(res_multistep, res_multistep, "second order from two steps (RES)", 0, 0)                                                   \
    X(res_multistep_cfg_pp, res_multistep_cfg_pp, "res_multistep with CFG++: for cfg 1 to 2", 0, 1)                              \
    X(res_multistep_ancestral, res_multistep_ancestral, "res_multistep with fresh noise each step", 1, 0)                        \
    X(res_multistep_ancestral_cfg_pp, res_multistep_ancestral_cfg_pp, "res_multistep_ancestral with CFG++: for cfg 1 to 2", 1, 1) \
    X(gradient_estimation, gradient_estimation, "euler along a slope that is carried on by its last change", 0, 0)               \
    X(gradient_estimation_cfg_pp, gradient_estimation_cfg_pp, "gradient_estimation with CFG++: for cfg 1 to 2", 0, 1)            \
    X(er_sde, er_sde, "third order of a stochastic equation with little noise at the end", 0, 0)                                 \
    X(seeds_2, seeds_2, "exponential solver of the stochastic equation; two model calls a step", 1, 0)                           \
    X(seeds_3, seeds_3, "the same with three model calls a step", 1, 0)                                                          \
    X(sa_solver, sa_solver, "stochastic Adams predictor and corrector, with noise in the middle of the run", 0, 0)               \
    X(sa_solver_pece, sa_solver_pece, "sa_solver that asks the model again after the correction", 0, 0)                          \
    X(uni_pc, unipc, "predictor and corrector of third order; good in few steps", 0, 0)                                          \
    X(uni_pc_bh2, unipc_bh2, "uni_pc with the other weight of its paper; for guidance of 5 and more", 0, 0)

#define DECLARE(name, method, help, eta, unguided) extern const struct sampler_method method_k_##method;
SAMPLERS(DECLARE)

#define ROW(name, method, help, eta, unguided) { #name, help, &method_k_##method, true, eta, unguided },
const struct sampler_name sampler_names[] = {
    { "model", "what the model folder's scheduler_config.json says, as diffusers runs it", NULL, false, true, false },
    SAMPLERS(ROW)
    { 0 },
};

const struct sampler_name *sampler_find(const char *name)
{
    for (const struct sampler_name *s = sampler_names; s->name; s++)
        if (text_same_name(s->name, name))
            return s;
    return NULL;
}

const struct sampler_name *sampler_need(const char *name, struct err *e)
{
    const struct sampler_name *found = sampler_find(name ? name : "model");
    if (found)
        return found;
    err_set(e, ERR_ARG, "no sampler \"%s\"; there are:", name);
    for (const struct sampler_name *s = sampler_names; s->name; s++)
        sampler_list_name(e, s->name);
    return NULL;
}

void sampler_list_name(struct err *e, const char *name)
{
    size_t used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, " %s", name);
}
