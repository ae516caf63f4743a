"""Prints the checksums of tests/backend/test_ref.c as PyTorch computes them in float64.

An input i holds sin(1 + i + 0.37 k) at k ("positive": 1.25 + 0.75 of that); ids are 7 k mod the table's size.
A result's checksum is the sum of its element k times cos(0.3 k). Images are NHWC, as in the graph.
"""
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def array(i, *shape, positive=False):
    x = torch.sin(1 + i + 0.37 * torch.arange(math.prod(shape)))
    return (1.25 + 0.75 * x if positive else x).reshape(shape)


def show(name, *outs):
    sums = [(o.flatten() * torch.cos(0.3 * torch.arange(o.numel()))).sum().item() for o in outs]
    print(f"    {name}: " + ", ".join(f"{s:.15g}" for s in sums))


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def attention(q, k, v, heads, scale, causal, pads=None):
    split = lambda x: x.unflatten(2, (heads, -1)).transpose(1, 2)
    q, k, v = split(q), split(k), split(v)
    seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
    if causal:  # the last query goes with the last key
        seen = seen.tril(k.shape[2] - q.shape[2])
    if pads is not None:  # ChatGLM's get_masks: a token sees no pads, a pad sees everything
        token = torch.arange(k.shape[2] - q.shape[2], k.shape[2])
        real = torch.arange(k.shape[2])[None] >= pads[:, None]
        seen = ((seen & real[:, None]) | (token[None] < pads[:, None])[:, :, None])[:, None]
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)
    scores = (q @ k.transpose(2, 3) * scale).masked_fill(~seen, -math.inf)
    return y.transpose(1, 2).flatten(2), scores.logsumexp(3)


def timestep(t, dim, flip, shift, period):
    half = dim // 2
    f = torch.exp(-math.log(period) * torch.arange(half) / (half - shift))
    a = t[:, None] * f[None]
    return torch.cat([a.cos(), a.sin()] if flip else [a.sin(), a.cos()], dim=1)


show("linear", F.linear(array(0, 3, 7), array(1, 5, 7), array(2, 5)))
show("turned", array(0, 6, 4).T @ array(1, 6, 5))
conv = lambda x, w, b, s, p: nhwc(F.conv2d(F.pad(nchw(x), (p[1], p[3], p[0], p[2])), w, b, stride=s))
show("conv", conv(array(0, 2, 7, 6, 3), array(1, 5, 3, 3, 3), array(2, 5), 2, (0, 0, 1, 1)))
show("conv, gelu, residual", F.gelu(conv(array(0, 1, 4, 5, 3), array(1, 2, 3, 3, 3), array(2, 2), 1, (1, 1, 1, 1)))
     + array(3, 1, 4, 5, 2))
x, p = array(0, 40) * 4, array(0, 40, positive=True)
for name, y in [("silu", F.silu(x)), ("gelu", F.gelu(x)), ("gelu_tanh", F.gelu(x, approximate="tanh")),
                ("quick_gelu", x * torch.sigmoid(1.702 * x)), ("relu", F.relu(x)),
                ("leaky_relu", F.leaky_relu(x, 0.2)), ("sigmoid", torch.sigmoid(x)), ("tanh", torch.tanh(x)),
                ("exp", torch.exp(x)), ("log", torch.log(p)), ("sqrt", torch.sqrt(p)), ("square", x * x),
                ("abs", x.abs()), ("softplus", F.softplus(x))]:
    show(name, y)
x = array(0, 5, 6)
show("geglu", x[:, :3] * F.gelu(x[:, 3:]))
show("swiglu", F.silu(x[:, :3]) * x[:, 3:])
x, g, b = array(0, 2, 3, 4, 6), array(1, 6), array(2, 6)
y = nhwc(F.silu(F.group_norm(nchw(x), 3, g, b, 1e-5)))
r = nchw(x).reshape(2, 3, -1)
show("group_norm, silu", y, r.mean(2), 1 / torch.sqrt(r.var(2, unbiased=False) + 1e-5))
x = array(0, 4, 6)
show("layer_norm", F.layer_norm(x, (6,), g, b, 1e-5), x.mean(1), 1 / torch.sqrt(x.var(1, unbiased=False) + 1e-5))
show("rms_norm", F.rms_norm(x, (6,), g, 1e-5), 1 / torch.sqrt(x.square().mean(1) + 1e-5))
show("softmax", torch.softmax(array(0, 3, 7), 1))
show("attention", *attention(array(0, 2, 3, 8), array(1, 2, 5, 8), array(2, 2, 5, 8), 2, 0.5, False))
show("attention, causal", *attention(array(0, 2, 5, 8), array(1, 2, 5, 8), array(2, 2, 5, 8), 2, 0.5, True))
show("attention, causal, more keys",
     *attention(array(0, 1, 3, 8), array(1, 1, 5, 8), array(2, 1, 5, 8), 2, 0.5, True))
show("attention, padded", *attention(array(0, 3, 6, 8), array(1, 3, 6, 8), array(2, 3, 6, 8), 2, 0.5, True,
                                     7 * torch.arange(3) % 5))
show("attention, padded, not causal", *attention(array(0, 3, 4, 8), array(1, 3, 6, 8), array(2, 3, 6, 8), 2, 0.5, False,
                                                 7 * torch.arange(3) % 5))
x, places = array(0, 2, 3, 2, 8), (7 * torch.arange(6) % 5).reshape(2, 3, 1, 1)
angle = places * 10000 ** (-torch.arange(0, 6, 2) / 6)
a, b = x[..., 0:6:2], x[..., 1:6:2]
turned = torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)
show("rotary", torch.cat([turned, x[..., 6:]], -1))
show("upsample", nhwc(F.interpolate(nchw(array(0, 2, 3, 2, 3)), scale_factor=2.0, mode="nearest")))
show("avg_pool", nhwc(F.avg_pool2d(nchw(array(0, 2, 4, 6, 3)), 2)))
show("embedding", F.embedding((7 * torch.arange(6) % 5).reshape(2, 3), array(0, 5, 4)))
show("timestep, SD", timestep(array(0, 3) * 100, 16, True, 0, 10000))
show("timestep, shifted", timestep(array(0, 3) * 100, 16, False, 1, 10000))

# One step of torch.optim.AdamW from a given state: rate 0.01, betas 0.9 and 0.99, decay 0.1, third step.
p = torch.nn.Parameter(array(0, 10, positive=True))
optimizer = torch.optim.AdamW([p], lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
m, v = array(1, 10, positive=True), array(2, 10, positive=True)
optimizer.state[p] = {"step": torch.tensor(2.0), "exp_avg": m, "exp_avg_sq": v}
p.grad = 0.5 * array(3, 10, positive=True)
optimizer.step()
show("adamw", p.detach(), m, v)
