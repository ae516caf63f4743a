"""Makes tests/data/upscale/: tiny RRDBNets, random, f16, and what they make of a picture.

The network is written here in plain PyTorch from Wang et al. 2018 (ESRGAN, figures 3 and 4): residual-in-residual dense blocks of three dense
blocks with five convolutions, LeakyReLU of 0.2, residuals scaled by 0.2, doublings by the nearest neighbour; and, for less than four times,
from Wang et al. 2021 (Real-ESRGAN, section 3.4): pixel-unshuffle first.

x4.safetensors   names of BasicSR (conv_first, body.0.rdb1.conv1, ...)
x2.pth           the same behind "params_ema", beside "params" with other numbers; pixel-unshuffle by 2
old.pth          names of the code before ESRGAN's (model.1.sub.0.RDB1.conv1.0 ...), two doublings
expected.safetensors   picture [1, 3, h, w] in 0..1, and <name>.out"""

import torch
from torch import nn
from torch.nn import functional as F

import common
from common import TESTS, round_to, write_tensors

OUT = TESTS / "data" / "upscale"


class Dense(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        for k in range(1, 6):
            setattr(self, f"conv{k}", nn.Conv2d(width + (k - 1) * growth, growth if k < 5 else width, 3, padding=1))

    def forward(self, x):
        seen = [x]
        for k in range(1, 5):
            seen.append(F.leaky_relu(getattr(self, f"conv{k}")(torch.cat(seen, 1)), 0.2))
        return self.conv5(torch.cat(seen, 1)) * 0.2 + x


class Block(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (Dense(width, growth) for _ in range(3))

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class Network(nn.Module):
    def __init__(self, shuffle, width=8, growth=4, blocks=2):
        super().__init__()
        self.shuffle = shuffle
        self.conv_first = nn.Conv2d(3 * shuffle ** 2, width, 3, padding=1)
        self.body = nn.Sequential(*(Block(width, growth) for _ in range(blocks)))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            setattr(self, name, nn.Conv2d(width, width, 3, padding=1))
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        first = self.conv_first(F.pixel_unshuffle(x, self.shuffle))
        x = first + self.conv_body(self.body(first))
        for up in (self.conv_up1, self.conv_up2):
            x = F.leaky_relu(up(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


def network(shuffle, seed, blocks=1):
    torch.manual_seed(seed)
    net = Network(shuffle, blocks=blocks)
    with torch.no_grad():
        for p in net.parameters(): # livelier than PyTorch's beginning, so that every layer shows
            p.mul_(2.0)
    round_to(net, torch.float16)
    return net.eval()


def old_name(name, blocks):
    places = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}", "conv_up1": "model.3", "conv_up2": "model.6", "conv_hr": "model.8",
              "conv_last": "model.10"}
    words = name.split(".")
    if words[0] in places:
        return places[words[0]] + "." + words[1]
    return f"model.1.sub.{words[1]}.{words[2].upper()}.{words[3]}.0.{words[4]}"


def main():
    common.quiet()
    OUT.mkdir(parents=True, exist_ok=True)
    g = torch.Generator().manual_seed(3)
    picture = F.interpolate(torch.rand(1, 3, 5, 7, generator=g), size=(14, 18), mode="bicubic").clamp(0, 1)
    out = {"picture": picture}
    nets = {"x4": network(1, 1, blocks=2), "x2": network(2, 2), "old": network(1, 3)}
    with torch.no_grad():
        for name, net in nets.items():
            out[f"{name}.out"] = net(picture)
    states = {name: {k: v.half() for k, v in net.state_dict().items()} for name, net in nets.items()}
    write_tensors(OUT / "x4.safetensors", states["x4"])
    torch.save({"params": {k: torch.zeros_like(v) for k, v in states["x2"].items()}, "params_ema": states["x2"]}, OUT / "x2.pth")
    torch.save({old_name(k, 1): v for k, v in states["old"].items()}, OUT / "old.pth", _use_new_zipfile_serialization=False)
    write_tensors(OUT / "expected.safetensors", out)


if __name__ == "__main__":
    main()
