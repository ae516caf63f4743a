#!/usr/bin/env python3
"""tests/data/measure: real pictures (scikit-image's samples, public domain or CC0) and what imagehash, scikit-image, SciPy and
NumPy say of them, of tests/data/similarity's and of tests/data/emoji-mini's over white. Needs imagehash beside requirements.txt."""

import json

import imagehash
import numpy as np
import scipy.fftpack
import scipy.ndimage
import skimage.data
from PIL import Image
from skimage.measure import blur_effect, shannon_entropy

from common import TESTS

OUT = TESTS / "data" / "measure"


def over_white(path):
    """Laid over white as libvips does it, in whole numbers."""
    p = np.asarray(Image.open(path).convert("RGBA")).astype(int)
    return Image.fromarray(((p[..., :3] * p[..., 3:] + 255 * (255 - p[..., 3:])) // 255).astype(np.uint8))


def decided(grey):
    """The bits of the hash that the picture decides: their coefficients are not the median's equals."""
    small = np.asarray(grey.resize((32, 32), Image.Resampling.LANCZOS))
    low = scipy.fftpack.dct(scipy.fftpack.dct(small, axis=0), axis=1)[:8, :8] / 4
    return str(imagehash.ImageHash(np.abs(low - np.median(low)) > 1e-6))


def figures(picture):
    grey = picture.convert("L")
    luma, rgb = np.asarray(grey), np.asarray(picture).astype(np.float64)
    rg, yb = rgb[..., 0] - rgb[..., 1], (rgb[..., 0] + rgb[..., 1]) / 2 - rgb[..., 2]
    return {
        "phash": str(imagehash.phash(picture)),
        "decided": decided(grey),
        "sharpness": scipy.ndimage.laplace(luma.astype(np.float64))[1:-1, 1:-1].var(),
        "blur": blur_effect(luma),
        "entropy": shannon_entropy(luma),
        "deviation": luma.std(),
        "mean": rgb.mean((0, 1)).tolist(),
        "colourfulness": np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()),
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    Image.fromarray(skimage.data.astronaut()).resize((160, 160), Image.Resampling.LANCZOS).save(OUT / "astronaut.png", optimize=True)
    Image.fromarray(skimage.data.coffee()).resize((151, 100), Image.Resampling.LANCZOS).save(OUT / "coffee.png", optimize=True)
    Image.fromarray(skimage.data.rocket()).resize((120, 80), Image.Resampling.LANCZOS).save(OUT / "rocket.png", optimize=True)
    expected = {}
    for folder in "measure", "similarity", "emoji-mini":
        for path in sorted((TESTS / "data" / folder).glob("*.png")):
            expected[f"{folder}/{path.name}"] = figures(over_white(path))
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
