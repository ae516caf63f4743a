"""tests/data/expected/optimizers.{safetensors,json}: forty steps of each optimizer as its published package takes them, and the
learning rates of diffusers' get_scheduler.

The weights and the gradients follow from a seed, by arithmetic that test_optimizer.c repeats (Philox there would be another
program): gradients depend on the weights, g = a (p - target) + noise, so that an error made early is seen late.
pip install --no-deps bitsandbytes==0.50.2 prodigyopt==1.1.2 lion-pytorch==0.2.5"""

import math

import torch
from safetensors.torch import save_file

from common import EXPECTED, quiet, write_json

STEPS = 40
SPARSE = 13  # of the large weight every so manieth number is kept
# name, shape, decays: two dimensions, a kernel, a bias, and one large enough for 8-bit state whose last block is not full
WEIGHTS = [("matrix", (24, 40), True), ("kernel", (6, 4, 3, 3), True), ("bias", (24,), False), ("large", (70, 61), True)]


def draw(index, step, count):
    """Numbers in -1..1: sin of exact integers in f64, rounded to f32, the same in C."""
    i = torch.arange(count, dtype=torch.float64)
    return torch.sin((i + 1) * (index + 1.5) * 0.7 + step * 1.3 + (i % 7) * 2.1).to(torch.float32)


def start(index, shape, scale):
    return (scale * draw(index, 0, math.prod(shape))).reshape(shape)


def gradient(index, step, p):
    scale = torch.tensor(0.02 if step % 5 else 0.2, dtype=torch.float32)
    return p.detach() * torch.tensor(0.05) + scale * draw(index + 10, step, p.numel()).reshape(p.shape)


def run(make, scale):
    ps = [torch.nn.Parameter(start(i, shape, scale)) for i, (_, shape, _) in enumerate(WEIGHTS)]
    decayed = [p for p, w in zip(ps, WEIGHTS) if w[2]]
    rest = [p for p, w in zip(ps, WEIGHTS) if not w[2]]
    optimizer = make([{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}])
    out = {}
    for step in range(STEPS):
        for i, p in enumerate(ps):
            p.grad = gradient(i, step, p)
        optimizer.step()
        if step + 1 in (1, 5, STEPS):
            for p, (name, _, _) in zip(ps, WEIGHTS):
                out[f"{step + 1}.{name}"] = p.detach().clone() if name != "large" else p.detach().flatten()[::SPARSE].clone()
    return out, optimizer, ps


def exact_codes():
    """The compiled CPU part of bitsandbytes finds codes by a coarse table: one moment in a hundred gets a neighbour of the nearest.
    Its own definition (backends/default: bucketize between the middles of the codes) is put in its place."""
    import bitsandbytes.backends.cpu.ops as ops

    def quantise(a, code, absmax_out, out, blocksize):
        flat = a.reshape(-1).float()
        for b in range(absmax_out.numel()):
            block = flat[b * blocksize:(b + 1) * blocksize]
            absmax_out[b] = block.abs().max()
            scaled = torch.clamp(block * (1.0 / absmax_out[b].clamp(min=1e-38)), -1, 1)
            out.view(-1)[b * blocksize:(b + 1) * blocksize] = torch.bucketize(scaled, (code[:-1] + code[1:]) / 2).to(torch.uint8)
    ops._quant_blockwise_fp32_direct = quantise


def schedules():
    from diffusers.optimization import get_scheduler
    out = {}
    for name, ours, extra in [("constant_with_warmup", "constant", {}), ("linear", "linear", {}), ("cosine", "cosine", {}),
                              ("cosine_with_restarts", "cosine-with-restarts", {"num_cycles": 3}),
                              ("polynomial", "polynomial", {"power": 2.0})]:
        p = torch.nn.Parameter(torch.zeros(1))
        o = torch.optim.SGD([p], lr=0.5)
        s = get_scheduler(name, o, num_warmup_steps=10, num_training_steps=110, **extra)
        rates = []
        for _ in range(110):
            rates.append(s.get_last_lr()[0])
            o.step()
            s.step()
        out[ours] = rates
    return out


def main():
    quiet()
    import bitsandbytes
    exact_codes()
    from lion_pytorch import Lion
    from prodigyopt import Prodigy
    from transformers.optimization import Adafactor
    makes = {
        "adamw": lambda g: torch.optim.AdamW(g, lr=1e-2, betas=(0.9, 0.99), eps=1e-8),
        "adamw8bit": lambda g: bitsandbytes.optim.AdamW8bit(g, lr=1e-2, betas=(0.9, 0.99), eps=1e-8),
        "lion": lambda g: Lion(g, lr=1e-2, betas=(0.9, 0.99)),
        "adafactor": lambda g: Adafactor(g, lr=1e-2, scale_parameter=False, relative_step=False, warmup_init=False),
        "prodigy": lambda g: Prodigy(g, lr=1.0, betas=(0.9, 0.99), eps=1e-8),
    }
    tensors, facts = {}, {"steps": STEPS, "rate": 1e-2, "decay": 0.05, "schedules": schedules()}
    for name, make in makes.items():
        # prodigy's first steps of 1e-6 would drown in the rounding of larger weights
        out, optimizer, ps = run(make, 2.0 ** -12 if name == "prodigy" else 0.5)
        for key, value in out.items():
            tensors[f"{name}.{key}"] = value
        if name == "prodigy":
            facts["prodigy_d"] = optimizer.param_groups[0]["d"]
        if name == "adamw8bit":
            state = optimizer.state[ps[3]]
            tensors["adamw8bit.codes1"], tensors["adamw8bit.codes2"] = state["state1"], state["state2"]
            tensors["adamw8bit.signed"], tensors["adamw8bit.unsigned"] = state["qmap1"], state["qmap2"]
            assert state["absmax1"].numel() == 17 and "absmax1" not in optimizer.state[ps[0]]
    save_file({k: v.contiguous() for k, v in tensors.items()}, EXPECTED / "optimizers.safetensors")
    write_json(EXPECTED / "optimizers.json", facts, indent=None)


if __name__ == "__main__":
    main()
