#!/usr/bin/env python3
"""tests/data/evaluate/expected.json: what other libraries measure of the pictures in tests/data.

  latents   diffusers' AutoencoderKL of tiny-emoji: the mean of the latents, times scaling_factor, of pictures of emoji-mini on white,
            [2, 2, 16]
  distances squared Frechet distances of clouds(n1, n2, dims) as pytorch-fid has them (scipy's sqrtm, numpy's cov), and KID's unbiased
            polynomial MMD of all points
  kid       KID of such clouds by torch-fidelity's formula: mean and deviation over subsets
  said      what diffusers' UNet of tiny-sd1 says of latents() for two prompts at two timesteps, [2, 4, 8, 8]
"""

import json

import numpy as np
import scipy.linalg
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from common import TESTS

DATA = TESTS / "data"


def picture(name):
    """On white."""
    a = Image.open(DATA / "emoji-mini" / name).convert("RGBA")
    white = Image.new("RGBA", a.size, "white")
    return np.asarray(Image.alpha_composite(white, a).convert("RGB"))


def latents():
    vae = AutoencoderKL.from_pretrained(DATA / "models" / "tiny-emoji" / "vae", torch_dtype=torch.float32)
    out = {}
    for name in ("solid-ball.png", "ring-leaves.png"):
        x = torch.from_numpy(picture(name).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        with torch.no_grad():
            mean = vae.encode(x).latent_dist.mean * vae.config.scaling_factor
        out[name] = [round(v, 5) for v in mean[0].permute(1, 2, 0).flatten().tolist()]
    return out


def cloud(n, dims, seed):
    """Points that a test can make, too."""
    p, i = np.meshgrid(np.arange(n), np.arange(dims), indexing="ij")
    return (np.sin(1.7 * (p + seed) * (i + 1) + 0.3 * i * i) * (1 + i % 3) + 0.2 * i * seed).astype(np.float32)


def frechet(a, b):
    m1, m2, s1, s2 = a.mean(0), b.mean(0), np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2)
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real)


def kid(a, b):
    def k(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3
    n, m = len(a), len(b)
    kaa, kbb = k(a, a), k(b, b)
    return float((kaa.sum() - np.trace(kaa)) / (n * (n - 1)) + (kbb.sum() - np.trace(kbb)) / (m * (m - 1)) - 2 * k(a, b).mean())


def distances():
    out = []
    for n1, n2, dims in ((40, 30, 5), (200, 150, 24), (12, 9, 16), (300, 5, 8)):
        a, b = (cloud(n, dims, s).astype(np.float64) for n, s in ((n1, 1), (n2, 2)))
        out.append({"n1": n1, "n2": n2, "dims": dims, "frechet": frechet(a, b), "kid": kid(a, b)})
    return out


def subsets():
    """As torch-fidelity 0.4.0 (metric_kid.py): RandomState(2020), a draw from each set in turn, mean and numpy's std of the values."""
    out = []
    for n1, n2, dims, count, size in ((200, 150, 24, 100, 50), (40, 30, 5, 20, 30), (300, 5, 8, 10, 4), (2100, 1000, 12, 3, 1000)):
        a, b = (cloud(n, dims, s).astype(np.float64) for n, s in ((n1, 1), (n2, 2)))
        rng = np.random.RandomState(2020)
        values = []
        for _ in range(count):
            some = a[rng.choice(n1, size, replace=False)]
            values.append(kid(some, b[rng.choice(n2, size, replace=False)]))
        out.append({"n1": n1, "n2": n2, "dims": dims, "subsets": count, "size": size,
                    "mean": float(np.mean(values)), "deviation": float(np.std(values))})
    return out


def said():
    pipe = StableDiffusionPipeline.from_pretrained(DATA / "models" / "tiny-sd1", torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    x = torch.sin(0.37 * torch.arange(2 * 4 * 8 * 8, dtype=torch.float64)).float().reshape(2, 4, 8, 8)
    with torch.no_grad():
        states, _ = pipe.encode_prompt(["a red apple", "一只猫"], "cpu", 1, False)
        out = pipe.unet(x, torch.tensor([10, 500]), states).sample
    return [round(v, 6) for v in out.flatten().tolist()]


def main():
    expected = {"latents": latents(), "distances": distances(), "kid": subsets(), "said": said()}
    (DATA / "evaluate").mkdir(exist_ok=True)
    (DATA / "evaluate" / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
