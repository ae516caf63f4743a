#!/usr/bin/env python3
"""tests/data/evaluate/expected.json: what other libraries measure of the pictures in tests/data.

  latents   diffusers' AutoencoderKL of tiny-emoji: the mean of the latents, times scaling_factor, of pictures of emoji-mini on white,
            [2, 2, 16]
"""

import json

import numpy as np
import torch
from diffusers import AutoencoderKL
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


def main():
    expected = {"latents": latents()}
    (DATA / "evaluate").mkdir(exist_ok=True)
    (DATA / "evaluate" / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
