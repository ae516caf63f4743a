"""What diffusers draws with tests/data/models/tiny-sdxl and then tiny-refiner in one drawing (denoising_end, denoising_start):

  tests/data/expected/refiner.{safetensors,json}
      <case>.handed  the latents after the base's steps, <case>.final after the refiner's [count, 4, h, w]
      <case>.picture u8 [count, h, w, 3], decoded by the base's VAE

Both pipelines get one generator. The case "comfy" is not diffusers': two KSamplerAdvanced with euler on the schedule "normal", the
second going on from the first with what is left of the noise, after ComfyUI's formulas (make_families.py has them, too)."""

import torch

import common
from common import EXPECTED, MODELS, write_json, write_tensors
from make_families import BETAS, EULER, NEGATIVE, PROMPTS, SPECS, states_of

PLAIN = {"prompt": PROMPTS[1], "negative": NEGATIVE, "width": 64, "height": 64, "steps": 10, "cfg": 5.0, "seed": 1234, "count": 1,
         "start": 0.8, "class": "EulerDiscreteScheduler", "sampler": None}
CASES = [
    {"name": "euler", **PLAIN},
    {"name": "batch2", **PLAIN, "steps": 7, "start": 0.55, "count": 2, "negative": None, "width": 80},
    {"name": "ancestral", **PLAIN, "steps": 8, "start": 0.7, "class": "EulerAncestralDiscreteScheduler"},
    {"name": "heun", **PLAIN, "steps": 5, "start": 0.6, "class": "HeunDiscreteScheduler"},
    {"name": "comfy", **PLAIN, "steps": 6, "start": 0.6, "sampler": "euler"},
]


def pipes(name):
    import diffusers
    base = diffusers.StableDiffusionXLPipeline.from_pretrained(str(MODELS / "tiny-sdxl"), torch_dtype=torch.float32, add_watermarker=False)
    refiner = diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(str(MODELS / "tiny-refiner"), torch_dtype=torch.float32,
                                                                         add_watermarker=False)
    for pipe in (base, refiner):
        pipe.scheduler = getattr(diffusers, name).from_config(EULER)
        pipe.set_progress_bar_config(disable=True)
    return base, refiner


def draw(case):
    base, refiner = pipes(case["class"])
    g = torch.Generator().manual_seed(case["seed"])
    call = {"prompt": case["prompt"], "negative_prompt": case["negative"], "num_inference_steps": case["steps"],
            "guidance_scale": case["cfg"], "num_images_per_prompt": case["count"], "generator": g, "output_type": "latent"}
    handed = base(**call, width=case["width"], height=case["height"], denoising_end=case["start"]).images
    sizes = {k: (case["height"], case["width"]) for k in ("original_size", "target_size")}
    final = refiner(**call, **sizes, image=handed, denoising_start=case["start"]).images
    return base, handed, final


def draw_comfy(case):
    base, refiner = pipes(case["class"])
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    bar = torch.cumprod(1 - betas, 0)
    table = ((1 - bar) / bar).sqrt().float()

    def sigma_of(t):
        low = t.long()
        part = t - low
        return ((1 - part) * table[low].log() + part * table[torch.clamp(low + 1, max=999)].log()).exp()
    sigmas = torch.cat([sigma_of(torch.linspace(999, 0, case["steps"])), torch.zeros(1)])
    border = round(case["start"] * case["steps"])
    noise = torch.randn((case["count"], 4, case["height"] // 8, case["width"] // 8),
                        generator=torch.Generator().manual_seed(case["seed"]))
    x, handed = noise * torch.sqrt(1 + sigmas[0] ** 2), None

    def rescale(x, one, other):
        """From one model's scale to another's; between nodes latents have none."""
        def numbers(c):
            if c.latents_mean is None:
                return 0, 1
            return (torch.tensor(v).view(1, -1, 1, 1) for v in (c.latents_mean, c.latents_std))
        (mean, std), (mean2, std2) = numbers(one.vae.config), numbers(other.vae.config)
        x = x * std / one.vae.config.scaling_factor + mean
        return (x - mean2) * other.vae.config.scaling_factor / std2
    for pipe, name, ends, steps in ((base, "tiny-sdxl", [[768.0, 768.0]] * 2, range(border)),
                                    (refiner, "tiny-refiner", [[2.5], [6.0]], range(border, case["steps"]))):
        spec = {**SPECS[name], "name": name}
        tokenizers = {part: getattr(pipe, part.replace("text_encoder", "tokenizer")) for part in spec["text"]}
        texts = {part: getattr(pipe, part) for part in spec["text"]}
        rows = [states_of(spec, texts, tokenizers, [w]) for w in (case["negative"] or "", case["prompt"])]
        states, pooled = (torch.cat([r[k] for r in rows]) for k in (0, 1))
        ids = torch.tensor([[768.0, 768.0, 0.0, 0.0, *e] for e in ends])
        for i in steps:
            s = sigmas[i]
            t = (s.log() - table.log()).abs().argmin()
            given = (x / torch.sqrt(s ** 2 + 1)).expand(2, -1, -1, -1)
            without, with_words = pipe.unet(given, t.float(), states,
                                            added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}).sample.chunk(2)
            x = x + (without + case["cfg"] * (with_words - without)) * (sigmas[i + 1] - s)
        if handed is None:
            handed, x = x, rescale(x, base, refiner)
    return base, handed, rescale(x, refiner, base)


def main():
    common.quiet()
    out = {}
    with torch.no_grad():
        for case in CASES:
            base, handed, final = (draw_comfy if case["sampler"] else draw)(case)
            pixels = (base.vae.decode(final / base.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
            out |= {case["name"] + ".handed": handed, case["name"] + ".final": final,
                    case["name"] + ".picture": (pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)}
            print(f"{case['name']}: std {handed.std():.2f}, {final.std():.2f}", flush=True)
    write_tensors(EXPECTED / "refiner.safetensors", out)
    write_json(EXPECTED / "refiner.json", {"cases": CASES})


if __name__ == "__main__":
    main()
