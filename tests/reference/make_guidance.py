#!/usr/bin/env python3
"""Makes tests/data/generate/guidance.json for tests/generate/test_guidance.c: guidance with diffusers' guidance_rescale, variations of
noise by the published formula of A1111's web UI (spherical interpolation of each column), and noise of PyTorch's CUDA generator as
k_samplers.py computes it (at some places of a tensor). Inputs are PyTorch's CPU noise of small seeds. Needs diffusers 0.42.1, torch."""
import json
import pathlib

import k_samplers
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

SHAPE = (2, 4, 6, 5)
noise = lambda seed, shape=SHAPE: torch.randn(shape, generator=torch.Generator().manual_seed(seed))
flat = lambda t: [round(float(v), 7) for v in t.reshape(-1)]

guidance = []
for cfg, rescale in ((7.5, 0.0), (7.5, 0.7), (3.0, 1.0), (1.0, 0.5)):
    unguided, guided = noise(1), 0.3 * noise(1) + noise(2)
    out = unguided + cfg * (guided - unguided)
    if rescale > 0:
        out = rescale_noise_cfg(out, guided, guidance_rescale=rescale)
    guidance.append(dict(cfg=cfg, rescale=rescale, out=flat(out)))


def vary(a, b, strength):
    """For one picture [c, h, w]; the norm runs along the second dimension."""
    a1, b1 = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    dot = (a1 * b1).sum(1)
    if dot.mean() > 0.9995:
        return a * strength + b * (1 - strength)
    angle = torch.acos(dot)
    return ((torch.sin((1 - strength) * angle) / torch.sin(angle)).unsqueeze(1) * a
            + (torch.sin(strength * angle) / torch.sin(angle)).unsqueeze(1) * b)


variations = []
for seed, subseed, strength in ((3, 4, 0.1), (3, 4, 0.6), (3, 4, 1.0), (5, 5, 0.4)):
    a, b = noise(seed), noise(subseed)
    variations.append(dict(seed=seed, subseed=subseed, strength=strength,
                           out=flat(torch.stack([vary(x, y, strength) for x, y in zip(a, b)]))))

cuda = []
for seed, count in ((0, 12), (7, 300), (2 ** 40 + 3, 70000), (7, 900001)):
    g = k_samplers.CudaGenerator(seed)
    for draw in range(2):  # the second goes on where the first ended
        values = g.randn(count)
        places = sorted({0, 1, 2, 11, count // 3, count // 2, count - 2, count - 1} & set(range(count)))
        cuda.append(dict(seed=seed, count=count, draw=draw, places=places, values=[round(float(values[p]), 7) for p in places]))

folder = pathlib.Path(__file__).parent.parent / "data" / "generate"
folder.mkdir(parents=True, exist_ok=True)
with open(folder / "guidance.json", "w") as f:
    json.dump(dict(guidance=guidance, variations=variations, cuda=cuda), f)
    f.write("\n")
