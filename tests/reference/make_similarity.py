#!/usr/bin/env python3
"""tests/data/similarity: a real picture (scikit-image's sample "chelsea", CC0), three damaged copies, and how alike
scikit-image and pytorch-msssim find them; GMSD by its paper's formula. Needs pytorch-msssim beside requirements.txt."""

import io
import json

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageFilter
from pytorch_msssim import ms_ssim
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from common import TESTS

OUT = TESTS / "data" / "similarity"


def damaged(a):
    noise = np.random.default_rng(1).normal(0, 12, a.shape)
    yield "noise", np.clip(a + noise, 0, 255).astype(np.uint8)
    yield "blur", np.asarray(Image.fromarray(a).filter(ImageFilter.GaussianBlur(1.5)))
    jpeg = io.BytesIO()
    Image.fromarray(a).save(jpeg, "JPEG", quality=20)
    yield "jpeg", np.asarray(Image.open(jpeg))


def gmsd(a, b):
    """Xue et al. 2014 on luma: halved by 2x2 means (zeros behind an odd side), Prewitt, c = 170."""
    kernel = torch.tensor([[-1.0, 0, 1]] * 3, dtype=torch.float64)[None, None] / 3

    def gradient(v):
        luma = torch.from_numpy(v.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))[None, None]
        luma = torch.nn.functional.pad(luma, (0, luma.shape[3] % 2, 0, luma.shape[2] % 2))
        luma = torch.nn.functional.avg_pool2d(luma, 2)
        both = [torch.nn.functional.conv2d(luma, k, padding=1) for k in (kernel, kernel.transpose(2, 3))]
        return (both[0] ** 2 + both[1] ** 2).sqrt()

    x, y = gradient(a), gradient(b)
    return ((2 * x * y + 170) / (x ** 2 + y ** 2 + 170)).std(unbiased=False).item()


def figures(a, b):
    x, y = (torch.from_numpy(np.ascontiguousarray(v)).permute(2, 0, 1)[None].double() for v in (a, b))
    return {
        "psnr": peak_signal_noise_ratio(a, b),
        "ssim": structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                      data_range=255),
        "ssim-uniform": structural_similarity(a, b, channel_axis=2, data_range=255),
        "ms-ssim": ms_ssim(x, y, data_range=255).item(),
        "gmsd": gmsd(a, b),
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    a = skimage.data.chelsea()[60:60 + 167, 90:90 + 178]  # one side odd
    Image.fromarray(a).save(OUT / "cat.png", optimize=True)
    expected = {}
    for name, b in damaged(a):
        Image.fromarray(b).save(OUT / f"{name}.png", optimize=True)
        expected[name] = figures(a, b)
    (OUT / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
