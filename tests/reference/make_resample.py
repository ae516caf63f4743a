"""Makes tests/data/expected/resample.{safetensors,json}: planes and pictures at other sizes.

planes: in [2, 4, 5, 7] and <method>.<h>x<w> by torch.nn.functional.interpolate (nearest-exact, bilinear, bicubic, area) and by
the formula of bislerp written out below. pixels: picture u8 [9, 13, 3] and lanczos.<h>x<w> by Pillow."""

import common
from common import EXPECTED, write_json, write_tensors

import numpy as np
import torch
from PIL import Image

SIZES = [(10, 14), (8, 9), (3, 4)]


def between(a, b, t):
    """Vectors of the last dimension: length linear, direction along the great circle; a where they agree to 1e-5."""
    la, lb = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    ua = torch.where(la == 0, torch.zeros_like(a), a / la)
    ub = torch.where(lb == 0, torch.zeros_like(b), b / lb)
    dot = (ua * ub).sum(-1, keepdim=True)
    angle = torch.acos(dot.clamp(-1, 1))
    out = (torch.sin((1 - t) * angle) * ua + torch.sin(t * angle) * ub) / torch.sin(angle) * (la * (1 - t) + lb * t)
    out = torch.where(dot > 1 - 1e-5, a, out)
    return torch.where(dot < 1e-5 - 1, a * (1 - t) + b * t, out)


def along_last(x, length):
    """x [n, c, h, w] -> [n, c, h, length]: places by bilinear interpolation of the index, as a row of numbers has them."""
    w = x.shape[-1]
    at = (torch.arange(length, dtype=torch.float64) + 0.5) * w / length - 0.5
    at = at.clamp(0, w - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=w - 1)
    t = (at - low)[:, None]
    v = x.double().permute(0, 2, 3, 1)
    return between(v[:, :, low], v[:, :, high], t).permute(0, 3, 1, 2)


def main():
    common.quiet()
    g = torch.Generator().manual_seed(3)
    x = torch.randn(2, 4, 5, 7, generator=g)
    x[0, :, 1, 2] = 0
    x[1, :, 3, 4] = 2 * x[1, :, 3, 3]
    x[1, :, 2, 5] = -x[1, :, 2, 4]
    out = {"in": x}
    for h, w in SIZES:
        for mode in ("nearest-exact", "bilinear", "bicubic", "area"):
            out[f"{mode}.{h}x{w}"] = torch.nn.functional.interpolate(x, size=(h, w), mode=mode)
        out[f"bislerp.{h}x{w}"] = along_last(along_last(x, w).transpose(2, 3), h).transpose(2, 3).float()
    p = np.random.RandomState(4).randint(0, 256, (9, 13, 3), dtype=np.uint8)
    out["picture"] = torch.tensor(p)
    pixel_sizes = [(18, 26), (5, 13), (9, 6), (30, 7)]
    for h, w in pixel_sizes:
        out[f"lanczos.{h}x{w}"] = torch.tensor(np.array(Image.fromarray(p).resize((w, h), Image.LANCZOS)))
    path = EXPECTED / "resample.safetensors"
    write_tensors(path, out)
    write_json(EXPECTED / "resample.json", {"planes": SIZES, "pixels": pixel_sizes}, indent=None)
    print(path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
