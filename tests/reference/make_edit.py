"""Makes tests/data/expected/edit.{safetensors,json}: image to image and inpainting from tests/data/models.

"model" cases are diffusers' StableDiffusionImg2ImgPipeline and StableDiffusionInpaintPipeline. The others are ComfyUI's rules
written out: VAEEncode (the mean), KSampler's denoise, SetLatentNoiseMask (bilinear to latents; before each model call
x m + (latent + noise sigma) (1 - m), after it x0 m + latent (1 - m); ddim: that noise from seed + 1) and, for denoisers with nine
channels, InpaintModelConditioning (the cut mask, and the picture with grey under it).
Tensors: picture.<side> u8 [side, side, 3], mask.<side> u8 [side, side]; <case>.final, <case>.drawn u8 where kept;
conv_in: [c, 9, 3, 3], which makes tiny-sd1's UNet one for inpainting. The JSON holds every argument."""

import copy

import common
from common import EXPECTED, MODELS, write_json, write_tensors
from make_expected import BETAS, NEGATIVE, PROMPTS

import numpy as np
import torch
from PIL import Image

SEED = 77


class Discrete:
    """SD's discrete schedule as ComfyUI holds it: sigmas as f32, timesteps the nearest in their logarithm."""

    def __init__(self, zero_snr):
        betas = np.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000) ** 2
        abar = np.cumprod(1 - betas)
        if zero_snr:
            root = np.sqrt(abar)
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            abar = root ** 2
            abar[-1] = 4.8973451890853435e-08
        self.sigmas = np.sqrt((1 - abar) / abar).astype(np.float32).astype(np.float64)
        self.logs = np.log(self.sigmas).astype(np.float32).astype(np.float64)

    def timestep(self, sigma):
        return int(np.abs(np.log(sigma) - self.logs).argmin())

    def spaced(self, name, n):
        top, bottom = self.sigmas[-1] ** (1 / 7), self.sigmas[0] ** (1 / 7)
        at = {"normal": np.linspace(999, 0, n), "sgm_uniform": np.linspace(999, 0, n + 1)[:-1]}
        s = (top + np.linspace(0, 1, n) * (bottom - top)) ** 7 if name == "karras" else np.exp(
            np.interp(at[name], np.arange(1000), self.logs))
        return np.array([*s, 0.0]).astype(np.float32).astype(np.float64)


def beginning(side):
    x = common.picture("orange", "cat", "purple", side, side, 0.1, -0.1)
    picture = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    y, x = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    mask = np.clip((0.7 - np.hypot(x - 0.2, y + 0.1)) * 4 + 0.5, 0, 1)
    return picture, torch.tensor((mask * 255).round().astype("uint8"))


def words(pipe, case):
    def states(text):
        ids = pipe.tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        return pipe.text_encoder(ids).last_hidden_state
    n = case["count"]
    return torch.cat([states(case["negative"])] * n + [states(case["prompt"])] * n)


def diffusers_draw(pipe, case, picture, mask, output):
    import diffusers
    parts = dict(pipe.components)
    config = case["scheduler"]
    if config:
        parts["scheduler"] = getattr(diffusers, config["_class_name"]).from_config(config)
    else:
        parts["scheduler"] = type(pipe.scheduler).from_config(pipe.scheduler.config)
    kind = diffusers.StableDiffusionInpaintPipeline if case["mask"] else diffusers.StableDiffusionImg2ImgPipeline
    run = kind(**parts, requires_safety_checker=False)
    run.set_progress_bar_config(disable=True)
    more = {}
    if case["mask"]:
        more = {"mask_image": Image.fromarray(mask.numpy()), "height": case["side"], "width": case["side"]}
    return run(case["prompt"], image=Image.fromarray(picture.numpy()), strength=case["strength"], eta=case["eta"],
               num_inference_steps=case["steps"], guidance_scale=case["cfg"], negative_prompt=case["negative"],
               num_images_per_prompt=case["count"], generator=torch.Generator().manual_seed(case["seed"]), output_type=output,
               **more).images


def comfy_draw(pipe, case, picture, mask):
    prediction = pipe.scheduler.config.get("prediction_type", "epsilon")
    factor = pipe.vae.config.scaling_factor
    pixels = (picture.permute(2, 0, 1)[None].float() / 255) * 2 - 1
    encode = lambda p: pipe.vae.encode(p).latent_dist.mean * factor
    latent = encode(pixels).repeat(case["count"], 1, 1, 1).double()
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(case["seed"])).double()
    d, n = Discrete(pipe.scheduler.config.get("rescale_betas_zero_snr", False)), case["steps"]
    total = n if case["strength"] > 0.9999 else int(n / case["strength"])
    s = d.spaced(case["schedule"], total)[-(n + 1):]
    m, extra = None, None
    if case["mask"]:
        soft = mask[None, None].float() / 255
        m = torch.nn.functional.interpolate(soft, size=latent.shape[2:], mode="bilinear").double()
    if pipe.unet.config.in_channels == 9:
        extra = torch.cat([m.round().float(), encode(pixels * (1 - soft.round()))], 1).repeat(2 * case["count"], 1, 1, 1)
    mask_noise = noise
    if case["sampler"] == "ddim":
        mask_noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(case["seed"] + 1)).double()
    text = words(pipe, case)

    def x0_of(x, sigma):
        if m is not None:
            x = x * m + (latent + mask_noise * sigma) * (1 - m)
        scaled = (x / np.sqrt(sigma ** 2 + 1)).float()
        scaled = torch.cat([scaled, scaled])
        if extra is not None:
            scaled = torch.cat([scaled, extra], 1)
        out = pipe.unet(scaled, torch.tensor(d.timestep(sigma)), text).sample.double()
        if prediction == "epsilon":
            x0 = torch.cat([x, x]) - sigma * out
        else:
            x0 = torch.cat([x, x]) / (sigma ** 2 + 1) - out * sigma / np.sqrt(sigma ** 2 + 1)
        un, yes = x0.chunk(2)
        x0 = un + case["cfg"] * (yes - un)
        return x0 if m is None else x0 * m + latent * (1 - m)

    full = s[0] >= d.sigmas[-1] * (1 - 1e-5)
    x = noise * (np.sqrt(1 + s[0] ** 2) if full else s[0]) + latent
    old = None
    for i, (a, b) in enumerate(zip(s, s[1:])):
        x0 = x0_of(x, a)
        if case["sampler"] == "dpmpp_2m":
            if b == 0:
                x = x0
            else:
                h, use = np.log(a / b), x0
                if old is not None:
                    use = x0 + (x0 - old) / (2 * np.log(s[i - 1] / a) / h)
                x = b / a * x - np.expm1(-h) * use
            old = x0
        elif case["sampler"] == "heun" and b > 0:
            slope = (x - x0) / a
            ahead = x + slope * (b - a)
            x = x + (slope + (ahead - x0_of(ahead, b)) / b) / 2 * (b - a)
        else:
            x = x + (x - x0) / a * (b - a)
    return x.float()


def cases_of(name, prediction):
    base = {**BETAS, "prediction_type": prediction, "steps_offset": 1}
    plain = {"model": name, "prompt": PROMPTS[1], "negative": NEGATIVE, "steps": 8, "cfg": 5.0, "seed": SEED, "eta": 0.0,
             "count": 1, "scheduler": None, "sampler": "model", "schedule": None, "mask": False, "strength": 0.75, "keep": False}
    k = lambda sampler, schedule, **more: {**plain, "sampler": sampler, "schedule": schedule, **more}
    c = lambda cls, **more: {"_class_name": cls + "Scheduler", **base, **more}
    out = {"img2img": {**plain, "keep": True}, "img2img_full": {**plain, "strength": 1.0, "steps": 5},
           "inpaint": {**plain, "mask": True, "strength": 1.0, "keep": True},
           "inpaint_part": {**plain, "mask": True, "strength": 0.58, "steps": 50 if name == "tiny-sd1" else 12},
           "k_img2img": k("euler", "normal", strength=0.6), "k_inpaint": k("euler", "normal", mask=True, keep=True)}
    if name == "tiny-sd1":
        out |= {"img2img_batch": {**plain, "count": 2}, "inpaint_batch": {**plain, "count": 2, "mask": True, "strength": 0.9},
                "inpaint_ancestral": {**plain, "mask": True, "scheduler": c("EulerAncestralDiscrete")},
                "inpaint_pndm": {**plain, "mask": True, "scheduler": c("PNDM", skip_prk_steps=True, set_alpha_to_one=False)},
                "inpaint_heun": {**plain, "mask": True, "scheduler": c("HeunDiscrete")},
                "inpaint_dpm": {**plain, "mask": True, "scheduler": c("DPMSolverMultistep")},
                "inpaint_unipc": {**plain, "mask": True, "scheduler": c("UniPCMultistep")},
                "img2img_ddim_eta": {**plain, "eta": 0.6, "scheduler": c("DDIM", clip_sample=False, set_alpha_to_one=False)},
                "k_inpaint_ddim": k("ddim", "normal", mask=True, strength=0.8),
                "k_inpaint_2m": k("dpmpp_2m", "karras", mask=True, strength=0.8),
                "k_inpaint_heun": k("heun", "sgm_uniform", mask=True, strength=1.0),
                "k_inpaint_batch": k("euler", "karras", mask=True, strength=0.7, count=2)}
    if name == "tiny-emoji":  # diffusers inpaints with latents of four channels only
        out = {k: {**v, "keep": False} for k, v in out.items() if v["sampler"] != "model" or not v["mask"]}
    if name == "tiny-sd2":
        out |= {"k_inpaint_2m": k("dpmpp_2m", "karras", mask=True, strength=0.8)}
    return out


def nine_cases():
    c = cases_of("tiny-sd1", "epsilon")
    return {k: {**c[k], "nine": True, "mask": True} for k in ("inpaint", "inpaint_part", "k_inpaint")} | {
        "inpaint_batch": {**c["inpaint_part"], "nine": True, "count": 2, "keep": False}}


def with_nine(pipe, out):
    """The UNet with five more channels at its door."""
    pipe = copy.copy(pipe)
    unet = copy.deepcopy(pipe.unet)
    old, g = unet.conv_in, torch.Generator().manual_seed(9)
    new = torch.nn.Conv2d(9, old.out_channels, 3, padding=1)
    new.weight.copy_(torch.cat([old.weight, 0.2 * torch.randn(old.out_channels, 5, 3, 3, generator=g)], 1))
    new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=9)
    pipe.unet = unet
    pipe.register_modules(unet=unet)
    out["conv_in"] = new.weight
    return pipe


def main():
    from diffusers import StableDiffusionPipeline
    common.quiet()
    out, cases = {}, []
    with torch.no_grad():
        for name in ("tiny-sd1", "tiny-sd2", "tiny-emoji"):
            pipe = StableDiffusionPipeline.from_pretrained(str(MODELS / name), torch_dtype=torch.float32, safety_checker=None)
            side = 8 * 2 ** (len(pipe.vae.config.block_out_channels) - 1)
            out[f"picture.{side}"], out[f"mask.{side}"] = picture, mask = beginning(side)
            todo = cases_of(name, pipe.scheduler.config.get("prediction_type", "epsilon"))
            if name == "tiny-sd1":
                todo |= {"nine." + k: v for k, v in nine_cases().items()}
                wide = with_nine(pipe, out)
            for k, c in todo.items():
                c = {"name": f"{name}.{k}", "nine": False, **c, "side": side}
                used = wide if c["nine"] else pipe
                if c["sampler"] == "model":
                    final = diffusers_draw(used, c, picture, mask, "latent")
                    if c["keep"]:
                        out[c["name"] + ".drawn"] = torch.tensor(
                            (diffusers_draw(used, c, picture, mask, "np") * 255).round().astype("uint8"))
                else:
                    final = comfy_draw(used, c, picture, mask)
                    if c["keep"]:
                        pixels = used.vae.decode(final / used.vae.config.scaling_factor).sample
                        out[c["name"] + ".drawn"] = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(
                            0, 2, 3, 1).contiguous()
                out[c["name"] + ".final"] = final
                print(f"  {c['name']}: std {final.std():.2f}", flush=True)
                cases.append(c)
    path = EXPECTED / "edit.safetensors"
    write_tensors(path, out)
    write_json(EXPECTED / "edit.json", {"cases": cases}, indent=None)
    print(path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
