"""Makes tests/data/expected/flow.{safetensors,json}: flows of nodes on tests/data/models/tiny-sd1, and the latents that they end in.

What the nodes mean is ComfyUI 0.3.64's, written out: areas, masks, strengths and ranges of conditions (comfy/samplers.py), what the text
nodes do to states, the noise of pictures out of a batch. Models are diffusers'. Tensors: <case> f32 [n, 4, 8, 8] without the model's
factor. The JSON holds each flow in API format, without the nodes that load the model ("m") and write the latent."""

import math

import common
from common import EXPECTED, MODELS, write_json, write_tensors
from k_samplers import Discrete

import numpy as np
import torch
import torch.nn.functional as F

SEED, STEPS, CFG, SIDE, CELLS = 21, 6, 5.0, 64, 8
D = Discrete()
LEVELS = np.array([*[D.sigma(t) for t in np.linspace(999, 0, STEPS)], 0.0]).astype(np.float32).astype(np.float64)


def link(node, output=0):
    return [node, output]


def text(words):
    return {"class_type": "CLIPTextEncode", "inputs": {"text": words, "clip": ["m", 1]}}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def sampler(positive, negative, latent="latent", **more):
    return node("KSampler", **{"model": ["m", 0], "seed": SEED, "steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "normal",
                               "positive": link(positive), "negative": link(negative), "latent_image": link(latent), "denoise": 1.0, **more})


BASE = {"a": text("a red circle on a blue ground"), "b": text("白色背景上的绿猫"), "c": text("a yellow wave on a black ground"),
        "n": text("purple stripes"), "latent": node("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1)}


class Model:
    def __init__(self):
        from diffusers import StableDiffusionPipeline
        self.pipe = StableDiffusionPipeline.from_pretrained(str(MODELS / "tiny-sd1"), torch_dtype=torch.float32, safety_checker=None)
        self.factor = self.pipe.vae.config.scaling_factor

    def states(self, words):
        ids = self.pipe.tokenizer(words, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        return self.pipe.text_encoder(ids).last_hidden_state

    def x0(self, x, sigma, states):
        out = self.pipe.unet((x / math.sqrt(sigma ** 2 + 1)).float(), torch.tensor(D.timestep(sigma)),
                             states.expand(x.shape[0], -1, -1)).sample.double()
        return x - sigma * out


class Cond:
    def __init__(self, states, **more):
        self.states, self.area, self.mask, self.strength, self.mask_strength, self.span = states, None, None, 1.0, 1.0, (0.0, 1.0)
        for k, v in more.items():
            setattr(self, k, v)

    def active(self, sigma):
        at = lambda p: math.inf if p <= 0 else 0.0 if p >= 1 else D.sigma((1 - p) * 999)
        return at(self.span[1]) <= sigma <= at(self.span[0])

    def weights(self, x):
        h, w, top, left = self.area or (x.shape[2], x.shape[3], 0, 0)
        if self.mask is not None:
            m = F.interpolate(self.mask[None, None], size=x.shape[2:], mode="bilinear")[:, :, top:top + h, left:left + w].double()
            return m * self.mask_strength * self.strength
        m = torch.ones(1, 1, h, w, dtype=torch.double) * self.strength
        if self.area:
            for axis, size, start, whole in ((2, h, top, x.shape[2]), (3, w, left, x.shape[3])):
                reach = min(8, size // 4)
                for t in range(reach):
                    if start > 0:
                        m.narrow(axis, t, 1).mul_((t + 1) / reach)
                    if start + size < whole:
                        m.narrow(axis, size - 1 - t, 1).mul_((t + 1) / reach)
        return m


def with_areas(mine, other):
    """The other list gets its words for every area of mine, from the smallest of its own that covers it."""
    out = list(other)
    for c in mine:
        if c.area:
            inside = [o for o in other if not o.area]
            if inside:
                out.append(Cond(inside[0].states, area=c.area, mask=c.mask, strength=c.strength, mask_strength=c.mask_strength, span=c.span))
    return out


def said(model, conds, x, sigma):
    total, weight = torch.zeros_like(x), torch.zeros_like(x)
    for c in conds:
        if c.active(sigma):
            h, w, top, left = c.area or (x.shape[2], x.shape[3], 0, 0)
            m = c.weights(x)
            total[:, :, top:top + h, left:left + w] += model.x0(x[:, :, top:top + h, left:left + w], sigma, c.states) * m
            weight[:, :, top:top + h, left:left + w] += m
    return torch.where(weight > 0, total / weight.clamp(min=1e-30), torch.zeros_like(x))


def draw(model, positive, negative, noise=None, latent=None, levels=LEVELS, guide=None, count=1, keep=None, stop=None):
    """Euler over the levels; latent without the factor; keep: the noise mask in cells."""
    shape = (count, 4, CELLS, CELLS)
    if noise is None:
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
    noise = noise.double()
    base = torch.zeros(shape).double() if latent is None else latent.double() * model.factor
    first = levels[0] >= D.sigmas[-1] * (1 - 1e-5)
    x = base + noise * (math.sqrt(1 + levels[0] ** 2) if first else levels[0])
    p, n = with_areas(negative, positive), with_areas(positive, negative)
    for a, b in zip(levels, levels[1:]):
        seen = x if keep is None else x * keep + (base + noise * a) * (1 - keep)
        if guide:
            x0 = guide(lambda conds: said(model, conds, seen, a))
        else:
            low = said(model, n, seen, a)
            x0 = low + CFG * (said(model, p, seen, a) - low)
        if keep is not None:
            x0 = x0 * keep + base * (1 - keep)
        x = x + (x - x0) / a * (b - a)
    return (x / model.factor).float()


def cases(m):
    s = {k: m.states(v["inputs"]["text"]) for k, v in BASE.items() if v["class_type"] == "CLIPTextEncode"}
    a, b, c, n = (Cond(s[k]) for k in "abcn")
    out = []

    def case(name, nodes, end, value):
        out.append(({"name": name, "flow": {**BASE, **nodes}, "end": end}, value))

    case("plain", {"end": sampler("a", "n")}, "end", draw(m, [a], [n]))
    case("combine", {"x": node("ConditioningCombine", conditioning_1=link("a"), conditioning_2=link("b")), "end": sampler("x", "n")}, "end",
         draw(m, [a, b], [n]))
    case("strength", {"y": node("ConditioningSetAreaStrength", conditioning=link("b"), strength=0.4),
                      "x": node("ConditioningCombine", conditioning_1=link("a"), conditioning_2=link("y")), "end": sampler("x", "n")}, "end",
         draw(m, [a, Cond(s["b"], strength=0.4)], [n]))
    area = node("ConditioningSetArea", conditioning=link("b"), width=64, height=64, x=16, y=8, strength=1.5)  # cut to the picture
    inner = node("ConditioningSetAreaPercentage", conditioning=link("b"), width=0.625, height=0.5, x=0.25, y=0.125, strength=1.5)
    case("area_inside", {"y": inner, "x": node("ConditioningCombine", conditioning_1=link("a"), conditioning_2=link("y")), "end": sampler("x", "n")},
         "end", draw(m, [a, Cond(s["b"], area=(4, 5, 1, 2), strength=1.5)], [n]))
    case("area", {"y": area, "x": node("ConditioningCombine", conditioning_1=link("a"), conditioning_2=link("y")), "end": sampler("x", "n")}, "end",
         draw(m, [a, Cond(s["b"], area=(7, 6, 1, 2), strength=1.5)], [n]))
    part = node("ConditioningSetAreaPercentage", conditioning=link("b"), width=0.5, height=1.0, x=0.5, y=0.0, strength=1.0)
    case("area_part", {"y": part, "x": node("ConditioningCombine", conditioning_1=link("a"), conditioning_2=link("y")), "end": sampler("x", "n")},
         "end", draw(m, [a, Cond(s["b"], area=(8, 4, 0, 4))], [n]))
    soft = torch.ones(SIDE, SIDE)
    for x in range(40):
        soft[:, x] *= (x + 1) / 40
    mask = {"s": node("SolidMask", value=1.0, width=SIDE, height=SIDE), "f": node("FeatherMask", mask=link("s"), left=40, top=0, right=0, bottom=0)}
    case("mask", {**mask, "i": node("InvertMask", mask=link("f")),
                  "y": node("ConditioningSetMask", conditioning=link("b"), mask=link("f"), strength=0.8, set_cond_area="default"),
                  "z": node("ConditioningSetMask", conditioning=link("a"), mask=link("i"), strength=1.0, set_cond_area="default"),
                  "x": node("ConditioningCombine", conditioning_1=link("y"), conditioning_2=link("z")), "end": sampler("x", "n")}, "end",
         draw(m, [Cond(s["b"], mask=soft, mask_strength=0.8), Cond(s["a"], mask=1 - soft)], [n]))
    box = torch.zeros(SIDE, SIDE)
    box[16:56, 8:64] = 1
    case("mask_bounds", {"s0": node("SolidMask", value=0.0, width=SIDE, height=SIDE), "s1": node("SolidMask", value=1.0, width=56, height=40),
                         "k": node("MaskComposite", destination=link("s0"), source=link("s1"), x=8, y=16, operation="add"),
                         "y": node("ConditioningSetMask", conditioning=link("b"), mask=link("k"), strength=1.0, set_cond_area="mask bounds"),
                         "x": node("ConditioningCombine", conditioning_1=link("a"), conditioning_2=link("y")), "end": sampler("x", "n")}, "end",
         draw(m, [a, Cond(s["b"], mask=box, area=(8, 8, 0, 0))], [n]))
    case("range", {"y": node("ConditioningSetTimestepRange", conditioning=link("a"), start=0.0, end=0.4),
                   "z": node("ConditioningSetTimestepRange", conditioning=link("b"), start=0.4, end=1.0),
                   "x": node("ConditioningCombine", conditioning_1=link("y"), conditioning_2=link("z")), "end": sampler("x", "n")}, "end",
         draw(m, [Cond(s["a"], span=(0.0, 0.4)), Cond(s["b"], span=(0.4, 1.0))], [n]))
    case("range_negative", {"y": node("ConditioningSetTimestepRange", conditioning=link("n"), start=0.3, end=0.7), "end": sampler("a", "y")}, "end",
         draw(m, [a], [Cond(s["n"], span=(0.3, 0.7))]))
    case("concat", {"x": node("ConditioningConcat", conditioning_to=link("a"), conditioning_from=link("b")), "end": sampler("x", "n")}, "end",
         draw(m, [Cond(torch.cat([s["a"], s["b"]], 1))], [n]))
    case("average", {"x": node("ConditioningAverage", conditioning_to=link("a"), conditioning_from=link("b"), conditioning_to_strength=0.3),
                     "end": sampler("x", "n")}, "end", draw(m, [Cond(s["a"] * 0.3 + s["b"] * 0.7)], [n]))
    case("zero", {"x": node("ConditioningZeroOut", conditioning=link("n")), "end": sampler("a", "x")}, "end",
         draw(m, [a], [Cond(torch.zeros_like(s["n"]))]))

    # SamplerCustomAdvanced and its parts
    custom = {"noise": node("RandomNoise", noise_seed=SEED), "how": node("KSamplerSelect", sampler_name="euler"),
              "levels": node("BasicScheduler", model=["m", 0], scheduler="normal", steps=STEPS, denoise=1.0)}
    run = lambda **more: node("SamplerCustomAdvanced", **{"noise": link("noise"), "guider": link("guider"), "sampler": link("how"),
                                                          "sigmas": link("levels"), "latent_image": link("latent"), **more})
    case("cfg_guider", {**custom, "guider": node("CFGGuider", model=["m", 0], positive=link("a"), negative=link("n"), cfg=CFG), "end": run()}, "end",
         draw(m, [a], [n]))
    case("basic_guider", {**custom, "guider": node("BasicGuider", model=["m", 0], conditioning=link("a")), "end": run()}, "end",
         draw(m, [a], [n], guide=lambda f: f([a])))
    for style in ("regular", "nested"):
        dual = node("DualCFGGuider", model=["m", 0], cond1=link("a"), cond2=link("b"), negative=link("n"), cfg_conds=3.0, cfg_cond2_negative=2.0,
                    style=style)

        def guide(f, nested=style == "nested"):
            p, q, r = f([a]), f([b]), f([n])
            return r + 2.0 * (q + 3.0 * (p - q) - r) if nested else r + 2.0 * (q - r) + 3.0 * (p - q)
        case("dual_" + style, {**custom, "guider": dual, "end": run()}, "end", draw(m, [a], [n], guide=guide))

    # pictures out of a batch, and a run in two parts
    stream = torch.Generator().manual_seed(SEED)
    each = [torch.randn((1, 4, CELLS, CELLS), generator=stream) for _ in range(4)]
    case("from_batch", {"four": node("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=4),
                        "some": node("LatentFromBatch", samples=link("four"), batch_index=2, length=2), "end": sampler("a", "n", "some")}, "end",
         draw(m, [a], [n], noise=torch.cat(each[2:4]), count=2))
    part = lambda **more: node("KSamplerAdvanced", **{"model": ["m", 0], "noise_seed": SEED, "steps": STEPS, "cfg": CFG, "sampler_name": "euler",
                                                      "scheduler": "normal", "positive": link("a"), "negative": link("n"), **more})
    case("two_parts", {"begin": part(add_noise="enable", latent_image=link("latent"), start_at_step=0, end_at_step=3, return_with_leftover_noise="enable"),
                       "end": part(add_noise="disable", latent_image=link("begin"), start_at_step=3, end_at_step=10000,
                                   return_with_leftover_noise="disable")}, "end", draw(m, [a], [n]))
    case("first_part", {"end": part(add_noise="enable", latent_image=link("latent"), start_at_step=0, end_at_step=3,
                                    return_with_leftover_noise="disable")}, "end",
         draw(m, [a], [n], levels=np.array([*LEVELS[:3], 0.0])))

    # a picture to begin with, a part of it, a larger latent
    pixels = torch.full((1, 3, SIDE, SIDE), 0.0)
    pixels[:, 0], pixels[:, 1], pixels[:, 2] = 0x30 / 255, 0x90 / 255, 0xE0 / 255
    picture = {"p": node("EmptyImage", width=SIDE, height=SIDE, batch_size=1, color=0x3090E0), "e": node("VAEEncode", pixels=link("p"), vae=["m", 2])}
    mean = m.pipe.vae.encode(pixels * 2 - 1).latent_dist.mean
    total = int(STEPS / 0.6)
    later = np.array([*[D.sigma(t) for t in np.linspace(999, 0, total)], 0.0]).astype(np.float32).astype(np.float64)[-(STEPS + 1):]
    case("encode", picture, "e", mean)
    case("img2img", {**picture, "end": sampler("a", "n", "e", denoise=0.6)}, "end", draw(m, [a], [n], latent=mean, levels=later))
    keep = F.interpolate(soft[None, None], size=(CELLS, CELLS), mode="bilinear").double()
    case("noise_mask", {**picture, **mask, "l": node("SetLatentNoiseMask", samples=link("e"), mask=link("f")), "end": sampler("a", "n", "l", denoise=0.6)},
         "end", draw(m, [a], [n], latent=mean, levels=later, keep=keep))
    first = draw(m, [a], [n])
    case("flip", {"first": sampler("a", "n"), "end": node("LatentFlip", samples=link("first"), flip_method="y-axis: horizontally")}, "end",
         first.flip(3))
    case("rotate", {"first": sampler("a", "n"), "end": node("LatentRotate", samples=link("first"), rotation="90 degrees")}, "end",
         torch.rot90(first, k=1, dims=[3, 2]))
    case("upscale", {"first": sampler("a", "n"), "end": node("LatentUpscaleBy", samples=link("first"), upscale_method="bicubic", scale_by=1.5)},
         "end", F.interpolate(first, size=(12, 12), mode="bicubic"))
    return out


def main():
    common.quiet()
    tensors, described = {}, []
    with torch.no_grad():
        for c, value in cases(Model()):
            print(f"  {c['name']}: std {value.std():.3f}", flush=True)
            tensors[c["name"]] = value.contiguous()
            described.append(c)
    write_tensors(EXPECTED / "flow.safetensors", tensors)
    write_json(EXPECTED / "flow.json", {"cases": described}, indent=None)


if __name__ == "__main__":
    main()
