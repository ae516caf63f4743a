#!/usr/bin/env python3
"""Makes tests/data/sampler/: for each of model, k and schedules NAME.json, a list of cases, and NAME.f32, their values (little-endian
floats), for tests/sampler/.

model: diffusers' own scheduler classes. The file begins with the start noise and a latent, of COUNT numbers each; a case has COUNT.
k: ComfyUI's samplers as k_samplers.py writes them out; of the final latents every K_EVERY-th number.
schedules: ComfyUI's noise levels, `count` for a case.
Both samplers use denoisers that a C test computes in the same way. Needs diffusers 0.42.1, torch, numpy, scipy, torchsde 0.2.6 (with
trampoline).
"""
import inspect
import json
import math
import pathlib
import warnings

import diffusers
import k_samplers as k
import numpy as np
import torch

warnings.filterwarnings("ignore")
diffusers.logging.set_verbosity_error()
torch.set_num_threads(1)

SHAPE = (2, 4, 6, 5)
COUNT = int(np.prod(SHAPE))
K_EVERY = 6
STEPS = (1, 2, 4, 7, 20)
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
FOLDER = pathlib.Path(__file__).parent.parent / "data" / "sampler"


def denoiser(x, t):
    """f32 in, f32 out, float64 between: each output sees its neighbour seven places on (across samples, too)."""
    x = np.asarray(x, dtype=np.float32).astype(np.float64).reshape(-1)
    y = np.tanh(0.8 * x + 0.5 * math.sin(t / 100) + 0.3 * np.roll(x, -7))
    return y.astype(np.float32).reshape(SHAPE)


rng = torch.Generator().manual_seed(1234)
NOISE = torch.randn(SHAPE, generator=rng)
LATENT = 0.7 * torch.randn(SHAPE, generator=rng)

# ------------------------------------------------------------------ diffusers

def run_diffusers(config, steps, start, eta, seed):
    cls = getattr(diffusers, config["_class_name"])
    s = cls.from_config({k: v for k, v in config.items() if k != "_class_name"})
    s.set_timesteps(steps)
    ts = s.timesteps
    # Without this a class looks the first timestep up, takes the second where rounding made two, and runs over the end.
    if hasattr(s, "set_begin_index"):
        s.set_begin_index(start * s.order)
    if start:
        ts = ts[start * s.order:]
        x = s.add_noise(LATENT, NOISE, ts[:1])
    else:
        x = NOISE * s.init_noise_sigma
    g = torch.Generator().manual_seed(seed)
    extra = {}
    accepts = inspect.signature(s.step).parameters
    if "eta" in accepts:
        extra["eta"] = eta
    if "generator" in accepts:
        extra["generator"] = g
    for t in ts:
        out = torch.from_numpy(denoiser(s.scale_model_input(x, t).numpy(), float(t)))
        x = s.step(out, t, x, **extra).prev_sample
    return x.numpy(), len(ts)


MODEL_CASES = []


def model(cls, every=STEPS, start=0, eta=0.0, **settings):
    for steps in every:
        MODEL_CASES.append(dict(config=dict(_class_name=cls, **settings), steps=steps, start=start, eta=eta))


for spacing in ("leading", "linspace", "trailing"):
    for prediction in ("epsilon", "v_prediction", "sample"):
        both = dict(SD, timestep_spacing=spacing, prediction_type=prediction)
        few = (1, 4, 20) if prediction == "epsilon" else (7,)
        offset = dict(both, steps_offset=1)
        model("DDIMScheduler", few, clip_sample=False, set_alpha_to_one=False, **offset)
        if prediction != "sample":
            model("PNDMScheduler", few, skip_prk_steps=True, **offset)
            model("PNDMScheduler", (4, 7), skip_prk_steps=False, **offset)
            model("EulerAncestralDiscreteScheduler", few, **both)
        model("EulerDiscreteScheduler", few, **both)
        model("HeunDiscreteScheduler", few, **both)
        model("LMSDiscreteScheduler", few, **both)
        model("DPMSolverMultistepScheduler", few, **both)
        model("UniPCMultistepScheduler", few, **both)
# each class with nothing but its own defaults, at every step count
for cls in ("DDIM", "PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "DPMSolverMultistep", "LMSDiscrete",
            "UniPCMultistep"):
    model(cls + "Scheduler", STEPS[2:] if cls == "PNDM" else STEPS)
# the schedules of betas
for betas in (dict(beta_schedule="linear"), dict(beta_schedule="squaredcos_cap_v2"),
              dict(trained_betas=[round(0.001 + 0.00002 * i + 0.0005 * math.sin(i), 6) for i in range(200)],
                   num_train_timesteps=200), dict(SD, num_train_timesteps=640)):
    # (a cosine schedule has hardly any signal at the noisiest step: v says more there)
    for cls in ("DDIM", "PNDM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep"):
        model(cls + "Scheduler", (4, 20), prediction_type="v_prediction", **betas)
model("HeunDiscreteScheduler", (7,), beta_schedule="exp", prediction_type="v_prediction")
# DDIM
for eta in (0.0, 0.5, 1.0):
    model("DDIMScheduler", (2, 7), eta=eta, **SD)
    model("DDIMScheduler", (7,), eta=eta, thresholding=True, sample_max_value=1.5, dynamic_thresholding_ratio=0.9, **SD)
model("DDIMScheduler", (7,), clip_sample_range=0.6, **SD)
for spacing in ("leading", "linspace", "trailing"):
    for cls in ("DDIM", "EulerDiscrete", "EulerAncestralDiscrete", "DPMSolverMultistep", "UniPCMultistep"):
        model(cls + "Scheduler", (4, 20), rescale_betas_zero_snr=True, prediction_type="v_prediction",
              timestep_spacing=spacing, **SD)
model("DDIMScheduler", (7,), rescale_betas_zero_snr=True, prediction_type="sample", timestep_spacing="trailing", **SD)
# spacings by sigma
for flag in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
    for cls in ("EulerDiscrete", "HeunDiscrete", "LMSDiscrete", "DPMSolverMultistep", "UniPCMultistep"):
        model(cls + "Scheduler", (4, 20), **{flag: True}, **SD)
    model("DPMSolverMultistepScheduler", (7,), **{flag: True}, final_sigmas_type="sigma_min", **SD)
    model("UniPCMultistepScheduler", (7,), **{flag: True}, final_sigmas_type="sigma_min", **SD)
    model("DPMSolverMultistepScheduler", (7,), **{flag: True}, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
# Euler
model("EulerDiscreteScheduler", (2, 7), interpolation_type="log_linear", **SD)
model("EulerDiscreteScheduler", (7,), interpolation_type="log_linear", use_karras_sigmas=True, **SD)
model("EulerDiscreteScheduler", (7,), final_sigmas_type="sigma_min", **SD)
model("EulerDiscreteScheduler", (7,), use_karras_sigmas=True, sigma_min=0.1, sigma_max=10.0, **SD)
model("EulerDiscreteScheduler", (7,), timestep_type="continuous", prediction_type="v_prediction", **SD)
model("HeunDiscreteScheduler", (7,), clip_sample=True, clip_sample_range=0.8, **SD)
# DPM-Solver
for algorithm in ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver"):
    last = "zero" if algorithm.endswith("++") else "sigma_min"
    for order in (1, 2, 3):
        if algorithm == "sde-dpmsolver" and order == 3:
            continue
        for solver in ("midpoint", "heun"):
            model("DPMSolverMultistepScheduler", (2, 7, 20), algorithm_type=algorithm, solver_order=order, solver_type=solver,
                  final_sigmas_type=last, **SD)
    model("DPMSolverMultistepScheduler", (7, 20), algorithm_type=algorithm, prediction_type="v_prediction",
          final_sigmas_type="sigma_min", thresholding=True, **SD)
    model("DPMSolverMultistepScheduler", (7,), algorithm_type=algorithm, prediction_type="sample",
          final_sigmas_type="sigma_min", **SD)
for order in (2, 3):
    model("DPMSolverMultistepScheduler", (14, 15), solver_order=order, final_sigmas_type="sigma_min", **SD)
    for settings in (dict(lower_order_final=False), dict(euler_at_final=True, lower_order_final=False),
                     dict(final_sigmas_type="sigma_min"), dict(final_sigmas_type="sigma_min", lower_order_final=False)):
        model("DPMSolverMultistepScheduler", (7, 20), solver_order=order, **settings, **SD)
model("DPMSolverMultistepScheduler", (7,), use_lu_lambdas=True, **SD)
for spacing in ("leading", "linspace", "trailing"):
    model("DPMSolverMultistepScheduler", (7,), lambda_min_clipped=-2.0, timestep_spacing=spacing, **SD)
model("DPMSolverMultistepScheduler", (7,), algorithm_type="deis", solver_type="logrho", final_sigmas_type="sigma_min", **SD)
# UniPC
for order in (1, 2, 3, 4):
    for solver in ("bh1", "bh2"):
        for x0 in (True, False):
            last = "zero" if x0 and solver == "bh2" else "sigma_min"
            model("UniPCMultistepScheduler", (4, 20), solver_order=order, solver_type=solver, predict_x0=x0,
                  final_sigmas_type=last, **SD)
model("UniPCMultistepScheduler", (7,), lower_order_final=False, final_sigmas_type="sigma_min", **SD)
model("UniPCMultistepScheduler", (7,), disable_corrector=[0, 2], solver_type="midpoint", **SD)
model("UniPCMultistepScheduler", (7,), thresholding=True, prediction_type="v_prediction", **SD)
model("UniPCMultistepScheduler", (7,), predict_x0=False, prediction_type="v_prediction", final_sigmas_type="sigma_min", **SD)
model("UniPCMultistepScheduler", (7,), predict_x0=False, prediction_type="sample", final_sigmas_type="sigma_min", **SD)
# image to image: the run starts midway
for cls in ("DDIM", "PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "DPMSolverMultistep", "LMSDiscrete",
            "UniPCMultistep"):
    extra = dict(skip_prk_steps=True) if cls == "PNDM" else {}
    model(cls + "Scheduler", (7, 20), start=3, **extra, **SD)

# the classes that are asked for less often
for prediction in ("epsilon", "v_prediction", "sample"):
    for cls in ("DPMSolverSinglestep", "DEISMultistep", "DDPM", "LCM", "TCD", "KDPM2Discrete", "KDPM2AncestralDiscrete"):
        if prediction != "sample" or not cls.startswith("KDPM2"):
            model(cls + "Scheduler", (1, 2, 5, 16) if prediction == "epsilon" else (6,), prediction_type=prediction, **SD)
for cls in ("DPMSolverSinglestep", "DEISMultistep", "DDPM", "LCM", "TCD", "KDPM2Discrete", "KDPM2AncestralDiscrete"):
    model(cls + "Scheduler", (4,))
    model(cls + "Scheduler", (7,), start=3, **SD)
for cls in ("DEISMultistep", "DDPM", "KDPM2Discrete", "KDPM2AncestralDiscrete"):
    for spacing in ("leading", "trailing"):
        model(cls + "Scheduler", (5,), timestep_spacing=spacing, steps_offset=1, **SD)
for flag in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
    for cls in ("DPMSolverSinglestep", "DEISMultistep", "KDPM2Discrete", "KDPM2AncestralDiscrete"):
        model(cls + "Scheduler", (6,), **{flag: True}, **SD)
for order in (1, 2, 3):
    model("DEISMultistepScheduler", (7, 15), solver_order=order, **SD)
    for algorithm, solver in (("dpmsolver++", "heun"), ("sde-dpmsolver++", "midpoint"), ("sde-dpmsolver++", "heun"),
                              ("dpmsolver", "midpoint"), ("dpmsolver", "heun")):
        last = "sigma_min" if algorithm == "dpmsolver" else "zero"
        model("DPMSolverSinglestepScheduler", (6, 7), algorithm_type=algorithm, solver_type=solver, solver_order=order,
              final_sigmas_type=last, **SD)
    model("DPMSolverSinglestepScheduler", (5, 6, 8), solver_order=order, lower_order_final=True, **SD)
model("DPMSolverSinglestepScheduler", (7,), lambda_min_clipped=-2.0, thresholding=True, **SD)
model("DEISMultistepScheduler", (7,), thresholding=True, **SD)
for settings in (dict(clip_sample=False), dict(variance_type="fixed_large"), dict(variance_type="fixed_small_log"),
                 dict(clip_sample=False, thresholding=True), dict(clip_sample_range=0.5)):
    model("DDPMScheduler", (6,), **settings, **SD)
model("DDPMScheduler", (6,), rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing", **SD)
model("LCMScheduler", (4,), original_inference_steps=20, timestep_scaling=3.0, clip_sample=True, **SD)
model("LCMScheduler", (3,), rescale_betas_zero_snr=True, prediction_type="v_prediction", **SD)
for eta in (0.3, 1.0):
    model("TCDScheduler", (1, 4, 7), eta=eta, **SD)

# ------------------------------------------------------------------ ComfyUI's samplers

def unguided(x, t):
    """What the model says without guidance, as `denoiser`."""
    x = np.asarray(x, dtype=np.float32).astype(np.float64).reshape(-1)
    return np.tanh(0.6 * x + 0.4 * math.cos(t / 100) - 0.2 * np.roll(x, -11)).astype(np.float32).reshape(SHAPE)


def run_k(c):
    d = k.Discrete(c["zero_snr"])
    s = k.run_sigmas(d, c["sampler"], c["schedule"], c["steps"], c["denoise"], c["start"], c["end"], c["leftover"])
    r = k.Run(d, s, denoiser, unguided, c["prediction"], c["eta"], c["seed"], SHAPE, c["cuda"], c["sampler"].endswith("_gpu"))
    full = s[0] >= d.sigmas[-1] * (1 - 1e-5)
    x = NOISE.numpy().astype(np.float64) * (math.sqrt(1 + s[0] ** 2) if full else s[0])
    if c["start"] or c["denoise"] < 1:
        x = x + LATENT.numpy().astype(np.float64)
    x = k.SAMPLERS[c["sampler"]](r, np.float32(x).astype(np.float64))
    return x.astype(np.float32), r.calls


ALL_SCHEDULES = ("normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "beta", "linear_quadratic", "kl_optimal")
K_CASES = []


def case(sampler, schedule="normal", steps=7, prediction="epsilon", zero_snr=False, denoise=1.0, start=0, end=0, leftover=False,
         eta=-1.0, seed=5, cuda=False):
    K_CASES.append(dict(sampler=sampler, schedule=schedule, steps=steps, prediction=prediction, zero_snr=zero_snr, denoise=denoise,
                        start=start, end=end, leftover=leftover, eta=eta, seed=seed, cuda=cuda))


DRAWS = ("euler_ancestral", "euler_ancestral_cfg_pp", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp",
         "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "res_multistep_ancestral",
         "res_multistep_ancestral_cfg_pp", "seeds_2", "seeds_3")
FIXED_NOISE = ("ddpm", "lcm", "er_sde", "sa_solver", "sa_solver_pece")
for name in k.SAMPLERS:
    # uni_pc and dpm_*: with one step ComfyUI gives the noise back
    several = name.startswith("uni_pc") or name in ("dpm_fast", "dpm_adaptive")
    if name.endswith("_gpu"):
        case(name)
        case(name, "karras", 4, seed=2 ** 40 + 3)
        continue
    for steps in (1, 2, 3, 4, 5, 6, 12)[several:]:
        case(name, steps=steps)
    case(name, "karras", 8)
    case(name, prediction="v_prediction")
    case(name, prediction="v_prediction", zero_snr=True)
    case(name, "exponential", prediction="sample", start=3)
    case(name, "simple", denoise=0.6)
    case(name, end=5, start=1)
    case(name, end=5, leftover=True)
    if name in DRAWS:
        for eta in (0.0, 0.5):
            case(name, eta=eta)
    if name in DRAWS + FIXED_NOISE:
        case(name, seed=2 ** 40 + 3)
        case(name, steps=4, cuda=True)
for name in ("euler", "heun", "dpm_2", "uni_pc"):
    for schedule in ALL_SCHEDULES:
        case(name, schedule, 7)
        case(name, schedule, 20, denoise=0.35)
        case(name, schedule, 9, denoise=0.5, end=6, start=2)

SCHEDULES = [dict(schedule=name, steps=steps, zero_snr=zero, train_steps=count,
                  sigmas=k.Discrete(zero, count).spaced(name, steps)[-(steps + 1):])
             for name in ALL_SCHEDULES for zero, count, steps in
             [(False, 1000, n) for n in (1, 2, 7, 20, 28)] + [(True, 1000, 7), (True, 1000, 16), (False, 1100, 9)]]
some = k.Discrete()
SCHEDULES += [
    dict(node="karras", steps=6, settings=[14.614642, 0.0291675, 5.0], sigmas=[*k.karras(6, 14.614642, 0.0291675, 5.0), 0.0]),
    dict(node="polyexponential", steps=6, settings=[14.6, 0.03, 1.5], sigmas=k.polyexponential(6, 14.6, 0.03, 1.5)),
    dict(node="exponential", steps=5, settings=[14.6, 0.03], sigmas=k.polyexponential(5, 14.6, 0.03, 1.0)),
    dict(node="laplace", steps=9, settings=[14.614642, 0.0291675, 0.2, 0.5], sigmas=k.laplace(9, 14.614642, 0.0291675, 0.2, 0.5)),
    dict(node="vp", steps=7, settings=[19.9, 0.1, 0.001], sigmas=k.vp(7, 19.9, 0.1, 0.001)),
    dict(node="beta", steps=9, settings=[0.3, 2.5], sigmas=[*some.beta(9, 0.3, 2.5), 0.0]),
    dict(node="sd_turbo", steps=4, settings=[1.0], sigmas=some.sd_turbo(4, 1.0)),
    dict(node="sd_turbo", steps=4, settings=[0.25], sigmas=some.sd_turbo(4, 0.25)),
]

# ------------------------------------------------------------------ out

def write(name, cases, values):
    np.concatenate([np.asarray(v).astype("<f4").reshape(-1) for v in values]).tofile(FOLDER / f"{name}.f32")
    with open(FOLDER / f"{name}.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


FOLDER.mkdir(parents=True, exist_ok=True)
cases, values = [], [NOISE.numpy(), LATENT.numpy()]
for c in MODEL_CASES:
    seed = 77
    final, calls = run_diffusers(c["config"], c["steps"], c["start"], c["eta"], seed)
    assert np.isfinite(final).all(), c
    cases.append(dict(config=c["config"], steps=c["steps"], start=c["start"], eta=c["eta"], seed=seed, calls=calls))
    values.append(final)
write("model", cases, values)

defaults = dict(denoise=1.0, start=0, end=0, leftover=False, eta=-1.0, seed=5, cuda=False, zero_snr=False, prediction="epsilon")
cases, values = [], []
for c in K_CASES:
    final, calls = run_k(c)
    assert np.isfinite(final).all(), c
    cases.append({key: v for key, v in dict(c, calls=calls).items() if defaults.get(key, None) != v})
    values.append(final.reshape(-1)[::K_EVERY])
write("k", cases, values)

cases, values = [], []
for c in SCHEDULES:
    sigmas = c.pop("sigmas")
    assert np.isfinite(sigmas).all(), c
    cases.append(dict(c, count=len(sigmas)))
    values.append(sigmas)
write("schedules", cases, values)
print(len(MODEL_CASES), "diffusers,", len(K_CASES), "ComfyUI,", len(SCHEDULES), "schedules")
