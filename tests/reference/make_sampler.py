#!/usr/bin/env python3
"""Makes tests/data/sampler/: cases.json and values.f32 (little-endian floats) for tests/sampler/test_sampler.c.

"model" cases run diffusers' own scheduler classes. The cases with ComfyUI's names run the published k-diffusion formulas,
written out here in float64 (sigmas as f32, as ComfyUI holds them); the Brownian tree is torchsde's.
Both use a denoiser that a C test computes in the same way. Needs diffusers 0.42.1, torch, numpy, scipy, torchsde 0.2.6 (with trampoline).
values.f32 holds the start noise, a latent, then for each case its final latents, each of COUNT numbers.
"""
import inspect
import json
import math
import pathlib
import warnings

import diffusers
import numpy as np
import torch

warnings.filterwarnings("ignore")
diffusers.logging.set_verbosity_error()
torch.set_num_threads(1)

SHAPE = (2, 4, 6, 5)
COUNT = int(np.prod(SHAPE))
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

# ------------------------------------------------------------------ ComfyUI's samplers


class Discrete:
    """SD's discrete schedule as ComfyUI holds it."""

    def __init__(self, zero_snr):
        betas = np.linspace(SD["beta_start"] ** 0.5, SD["beta_end"] ** 0.5, 1000) ** 2
        abar = np.cumprod(1 - betas)
        if zero_snr:
            root = np.sqrt(abar)
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            abar = root ** 2
            abar[-1] = 4.8973451890853435e-08
        self.sigmas = np.sqrt((1 - abar) / abar).astype(np.float32).astype(np.float64)
        self.logs = np.log(self.sigmas).astype(np.float32).astype(np.float64)

    def sigma(self, t):
        low, high = math.floor(t), math.ceil(t)
        w = t - low
        return math.exp((1 - w) * self.logs[low] + w * self.logs[high])

    def timestep(self, sigma):
        return int(np.abs(math.log(sigma) - self.logs).argmin())

    def spaced(self, name, n):
        top, bottom = self.sigmas[-1], self.sigmas[0]
        if name == "normal":
            s = [self.sigma(t) for t in np.linspace(999, 0, n)]
        elif name == "sgm_uniform":
            s = [self.sigma(t) for t in np.linspace(999, 0, n + 1)[:-1]]
        elif name == "simple":
            s = [self.sigmas[-(1 + int(i * (1000 / n)))] for i in range(n)]
        elif name == "karras":
            s = (top ** (1 / 7) + np.linspace(0, 1, n) * (bottom ** (1 / 7) - top ** (1 / 7))) ** 7
        else:
            s = np.exp(np.linspace(math.log(top), math.log(bottom), n))
        return np.array([*s, 0.0]).astype(np.float32).astype(np.float64)


def run_k(sampler, schedule, prediction, zero_snr, steps, start, eta, seed):
    d = Discrete(zero_snr)
    if sampler == "uni_pc":  # one step more is computed and the last sigma above 0 is left out
        s = d.spaced(schedule, steps + 1)
        s = np.delete(s, -2)
    else:
        s = d.spaced(schedule, steps)
    s = s[start:]
    n = len(s) - 1
    calls = 0
    eta = 1.0 if eta < 0 else eta

    def x0_of(x, sigma):
        nonlocal calls
        calls += 1
        scaled = np.float32(x) / np.float32(math.sqrt(sigma ** 2 + 1))
        out = denoiser(scaled, d.timestep(sigma)).astype(np.float64)
        if prediction == "epsilon":
            out = x - sigma * out
        elif prediction == "v_prediction":
            out = x / (sigma ** 2 + 1) - out * sigma / math.sqrt(sigma ** 2 + 1)
        return out.astype(np.float32).astype(np.float64)

    noise = NOISE.numpy().astype(np.float64)
    full = s[0] >= d.sigmas[-1] * (1 - 1e-5)
    x = noise * (math.sqrt(1 + s[0] ** 2) if full else s[0])
    if start:
        x = x + LATENT.numpy().astype(np.float64)
    x = np.float32(x).astype(np.float64)

    if sampler in ("euler", "ddim"):
        for a, b in zip(s, s[1:]):
            x = x + (x - x0_of(x, a)) / a * (b - a)
    elif sampler == "euler_ancestral":
        g = torch.Generator().manual_seed(seed + 1)
        for a, b in zip(s, s[1:]):
            x0 = x0_of(x, a)
            up = min(b, eta * math.sqrt(b ** 2 * (a ** 2 - b ** 2) / a ** 2))
            down = math.sqrt(b ** 2 - up ** 2)
            x = x + (x - x0) / a * (down - a)
            if b > 0:
                x = x + up * torch.randn(SHAPE, generator=g).numpy()
    elif sampler == "heun":
        for a, b in zip(s, s[1:]):
            slope = (x - x0_of(x, a)) / a
            ahead = x + slope * (b - a)
            if b > 0:
                slope = (slope + (ahead - x0_of(ahead, b)) / b) / 2
            x = x + slope * (b - a)
    elif sampler == "lms":
        slopes = []
        for i in range(n):
            x0 = x0_of(x, s[i])
            slopes = [np.float32((x - x0) / s[i]), *slopes][:4]
            if s[i + 1] == 0:
                x = x0
                continue
            nodes = [s[i - k] for k in range(len(slopes))]
            for j, slope in enumerate(slopes):
                poly = np.poly1d([1.0])
                for k, node in enumerate(nodes):
                    if k != j:
                        poly = poly * np.poly1d([1, -node]) / (nodes[j] - node)
                area = poly.integ()
                x = x + (area(s[i + 1]) - area(s[i])) * slope
            x = np.float32(x).astype(np.float64)  # as ComfyUI keeps it: the method amplifies the rounding
    elif sampler == "dpmpp_2m":
        old = None
        for i in range(n):
            x0 = x0_of(x, s[i])
            if s[i + 1] == 0:
                x = x0
            else:
                h = math.log(s[i] / s[i + 1])
                use = x0
                if old is not None:
                    r = math.log(s[i - 1] / s[i]) / h
                    use = x0 + (x0 - old) / (2 * r)
                x = s[i + 1] / s[i] * x + (1 - math.exp(-h)) * use
            old = x0
    elif sampler == "dpmpp_2m_sde":
        import torchsde
        t32 = lambda v: torch.tensor(v, dtype=torch.float32)
        tree = torchsde.BrownianTree(t32(s[s > 0].min()), torch.zeros(SHAPE), t32(s.max()), entropy=seed)
        old = None
        for i in range(n):
            a, b = s[i], s[i + 1]
            x0 = x0_of(x, a)
            if b == 0:
                x = x0
            else:
                h = math.log(a / b)
                pull = 1 - math.exp(-h * (1 + eta))
                x = b / a * math.exp(-h * eta) * x + pull * x0
                if old is not None:
                    x = x + 0.5 * pull * h / math.log(s[i - 1] / a) * (x0 - old)
                if eta > 0:
                    w = -tree(t32(b), t32(a)).numpy().astype(np.float64) / math.sqrt(a - b)
                    x = x + w * b * math.sqrt(1 - math.exp(-2 * h * eta))
            old = x0
    else:  # uni_pc, with B(h) = h and data prediction, on x / sqrt(1 + sigma^2)
        s[-1] = np.float32(0.001)
        alpha = lambda v: 1 / math.sqrt(1 + v * v)
        lam = lambda v: -math.log(v)
        model_at = lambda y, v: x0_of(y / alpha(v), v)
        x = x * alpha(s[0])
        order_max = max(1, min(3, n - 1))
        known = [(s[0], model_at(x, s[0]))]
        for k in range(1, n + 1):
            order = min(order_max, k, n + 1 - k)
            here, m0 = known[-1]
            h = lam(s[k]) - lam(here)
            base = s[k] * alpha(s[k]) / (here * alpha(here)) * x - alpha(s[k]) * math.expm1(-h) * m0
            r = [(lam(known[-1 - i][0]) - lam(here)) / h for i in range(1, order)]
            diffs = [(known[-1 - i][1] - m0) / r[i - 1] for i in range(1, order)]
            phi, fact, b = math.expm1(-h) / -h - 1, 1, []
            for i in range(1, order + 1):
                b.append(phi * fact / -h)
                fact *= i + 1
                phi = phi / -h - 1 / fact
            b = np.array(b)
            R = np.array([[v ** i for v in (*r, 1.0)] for i in range(order)])
            rho = [0.5] if order == 2 else (np.linalg.solve(R[:-1, :-1], b[:-1]) if order > 1 else [])
            x = base + alpha(s[k]) * h * sum(p * dd for p, dd in zip(rho, diffs))
            if k < n:
                m = model_at(x, s[k])
                rho = [0.5] if order == 1 else np.linalg.solve(R, b)
                x = base + alpha(s[k]) * h * sum(p * dd for p, dd in zip(rho, (*diffs, m - m0)))
                known.append((s[k], m))
        x = x / alpha(s[-1])
    return x.astype(np.float32), calls


K_CASES = []
K_SAMPLERS = ("ddim", "euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "lms", "uni_pc")
for sampler in K_SAMPLERS:
    def k(schedule="normal", steps=7, prediction="epsilon", zero_snr=False, start=0, eta=-1.0, seed=5):
        K_CASES.append(dict(sampler=sampler, schedule=schedule, prediction=prediction, zero_snr=zero_snr, steps=steps,
                            start=start, eta=eta, seed=seed))
    for schedule in ("normal", "karras", "exponential", "sgm_uniform", "simple"):
        for steps in (7, 20) if schedule != "normal" else STEPS:
            if not (sampler == "uni_pc" and steps == 1):  # there ComfyUI gives the noise back
                k(schedule, steps)
    k(prediction="v_prediction")
    k(prediction="v_prediction", zero_snr=True)
    k(prediction="sample")
    k(start=3)
    if sampler in ("euler_ancestral", "dpmpp_2m_sde"):
        for eta in (0.0, 0.5):
            k(eta=eta)
        k(seed=2 ** 40 + 3)

# ------------------------------------------------------------------ out

cases, values = [], [NOISE.numpy(), LATENT.numpy()]
for c in MODEL_CASES:
    seed = 77
    final, calls = run_diffusers(c["config"], c["steps"], c["start"], c["eta"], seed)
    assert np.isfinite(final).all(), c
    cases.append(dict(sampler="model", config=c["config"], steps=c["steps"], start=c["start"], eta=c["eta"], seed=seed,
                      calls=calls))
    values.append(final)
for c in K_CASES:
    final, calls = run_k(**c)
    assert np.isfinite(final).all(), c
    config = dict(_class_name="DDIMScheduler", prediction_type=c["prediction"], rescale_betas_zero_snr=c["zero_snr"], **SD)
    cases.append(dict(sampler=c["sampler"], schedule=c["schedule"], config=config, steps=c["steps"], start=c["start"],
                      eta=c["eta"], seed=c["seed"], calls=calls))
    values.append(final)

FOLDER.mkdir(parents=True, exist_ok=True)
np.concatenate([v.astype("<f4").reshape(-1) for v in values]).tofile(FOLDER / "values.f32")
with open(FOLDER / "cases.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
print(len(cases), "cases; largest final", max(float(np.abs(v).max()) for v in values))
