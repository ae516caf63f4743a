"""Makes tests/data/expected/<model>.{safetensors,json} from tests/data/models/<model> with diffusers and transformers.

The JSON holds every argument; the tensors (f32 unless said, NCHW) are named there or by these rules:
  text.ids [n, 77] i64, text.last [n, 77, w] (final norm applied), text.skip1 (hidden_states[-2], then the final norm),
  text.pooled [n, w]; text.layer.<i> [1, 77, w] of prompt 1: the embeddings (0) and what each layer gives
  unet.sample, unet.timesteps, unet.states -> unet.out, with unet.trace.* on the way (batch 2)
  vae.picture (-1..1) -> vae.moments (mean, then logvar); vae.latent (what the decoder takes: no scaling) -> vae.decoded
  <case>.start (unit noise before init_noise_sigma), <case>.final (latents after the last step),
  <case>.picture u8 [n, h, w, 3]
Weights are used as the files hold them, computed in f32 on one thread."""

import argparse

import common
from common import EXPECTED, MODELS, write_json, write_tensors

import torch

PROMPTS = ["", "a red circle on a blue ground", "蓝色背景上的红苹果，and it's GREEN  ok 42",
           "a yellow cat on a white ground, a purple dog on a black ground, " * 8]
NEGATIVE = "green stripes"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def scheduler_cases(prediction):
    """(name, scheduler_config.json content, eta): what a folder may hold; absent keys are the class's own defaults."""
    base = {**BETAS, "prediction_type": prediction, "steps_offset": 1}
    ddim = {"_class_name": "DDIMScheduler", **base, "clip_sample": False, "set_alpha_to_one": False}
    dpm = {"_class_name": "DPMSolverMultistepScheduler", **base}
    euler = {"_class_name": "EulerDiscreteScheduler", **base}
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    v = prediction == "v_prediction"
    return [
        ("ddim", ddim, 0.0),
        ("ddim_eta", ddim, 0.6),
        ("ddim_trailing", {**ddim, "timestep_spacing": "trailing", "set_alpha_to_one": True}, 0.0),
        *([("ddim_zero_snr", {**ddim, **zero}, 0.0)] if v else []),
        # StableDiffusionPipeline itself sets steps_offset to 1 and clip_sample to false, whatever the file says.
        ("ddim_corrected", {k: v for k, v in ddim.items() if k not in ("steps_offset", "clip_sample")}, 0.0),
        ("euler_corrected", {**euler, "timestep_spacing": "leading", "steps_offset": 0}, 0.0),
        ("pndm", {"_class_name": "PNDMScheduler", **base, "skip_prk_steps": True, "set_alpha_to_one": False}, 0.0),
        ("euler", euler, 0.0),
        ("euler_leading", {**euler, "timestep_spacing": "leading"}, 0.0),
        ("euler_karras", {**euler, "use_karras_sigmas": True}, 0.0),
        *([("euler_zero_snr", {**euler, **zero}, 0.0)] if v else []),
        ("euler_ancestral", {"_class_name": "EulerAncestralDiscreteScheduler", **base}, 0.0),
        ("heun", {"_class_name": "HeunDiscreteScheduler", **base}, 0.0),
        ("dpm", dpm, 0.0),
        ("dpm_karras", {**dpm, "use_karras_sigmas": True}, 0.0),
        ("dpm_sde", {**dpm, "algorithm_type": "sde-dpmsolver++"}, 0.0),
        ("dpm_order3", {**dpm, "solver_order": 3, "timestep_spacing": "leading"}, 0.0),
        ("lms", {"_class_name": "LMSDiscreteScheduler", **base}, 0.0),
        ("unipc", {"_class_name": "UniPCMultistepScheduler", **base}, 0.0),
    ]


def text_part(pipe, out):
    tok, text = pipe.tokenizer, pipe.text_encoder
    ids = tok(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    layers = []
    hooks = [m.register_forward_hook(lambda _m, _i, o: layers.append(o[0] if isinstance(o, tuple) else o))
             for m in [text.embeddings, *text.encoder.layers]]
    got = text(ids)
    for h in hooks:
        h.remove()
    out["text.ids"] = ids
    out["text.last"] = got.last_hidden_state
    out["text.skip1"] = text.final_layer_norm(layers[-2])
    out["text.pooled"] = got.pooler_output
    for i, layer in enumerate(layers):
        out[f"text.layer.{i}"] = layer[1:2]
    assert torch.equal(text.final_layer_norm(layers[-1]), got.last_hidden_state)
    return [[int(t) for t in tok(p).input_ids] for p in PROMPTS]


def unet_part(pipe, out, height, width):
    unet = pipe.unet
    g = torch.Generator().manual_seed(11)
    sample = torch.randn(2, unet.config.in_channels, height, width, generator=g)
    steps = torch.tensor([981, 17])
    states = out["text.last"][1:3]
    places = {"time": unet.time_embedding, "conv_in": unet.conv_in, "mid": unet.mid_block}
    places |= {f"down.{i}": b for i, b in enumerate(unet.down_blocks)}
    places |= {f"up.{i}": b for i, b in enumerate(unet.up_blocks)}
    hooks = [m.register_forward_hook(lambda _m, _i, o, n=n: out.__setitem__(
        "unet.trace." + n, o[0] if isinstance(o, tuple) else o)) for n, m in places.items()]
    out |= {"unet.sample": sample, "unet.timesteps": steps, "unet.states": states,
            "unet.out": unet(sample, steps, states).sample}
    for h in hooks:
        h.remove()


def vae_part(pipe, out, pixels, factor):
    vae = pipe.vae
    g = torch.Generator().manual_seed(12)
    x = common.picture("orange", "wave", "purple", pixels, pixels + factor, 0.1, 0.2)[None]
    out["vae.picture"] = x
    hooks = [m.register_forward_hook(lambda _m, _i, o, n=n: out.__setitem__("vae.trace." + n, o))
             for n, m in (("encoder.mid", vae.encoder.mid_block), ("decoder.mid", vae.decoder.mid_block))]
    out["vae.moments"] = vae.encode(x).latent_dist.parameters
    mean = vae.encode(x).latent_dist.mean
    out["vae.latent"] = mean + 0.3 * mean.std() * torch.randn(mean.shape, generator=g)
    out["vae.decoded"] = vae.decode(out["vae.latent"]).sample
    for h in hooks:
        h.remove()


def draw(pipe, case, out, keep_picture, latents=None):
    """One pipeline call as diffusers makes it; clip_skip by hand, because the option is broken with transformers 5."""
    from diffusers import StableDiffusionPipeline
    import diffusers
    parts = dict(pipe.components)
    if case["scheduler"]:
        parts["scheduler"] = getattr(diffusers, case["scheduler"]["_class_name"]).from_config(case["scheduler"])
    else:
        parts["scheduler"] = type(pipe.scheduler).from_config(pipe.scheduler.config)
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    words = {"prompt": case["prompt"], "negative_prompt": case["negative"]}
    if case["clip_skip"]:
        text = pipe.text_encoder

        def states(s, skip):
            ids = pipe.tokenizer(s, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
            layers = []
            hooks = [m.register_forward_hook(lambda _m, _i, o: layers.append(o[0] if isinstance(o, tuple) else o))
                     for m in [text.embeddings, *text.encoder.layers]]
            text(ids)
            for h in hooks:
                h.remove()
            return text.final_layer_norm(layers[-1 - skip])
        # encode_prompt skips layers for the prompt only, never for the negative prompt.
        words = {"prompt_embeds": states(case["prompt"], case["clip_skip"]),
                 "negative_prompt_embeds": states(case["negative"], 0)}
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    shape = (case["count"], pipe.unet.config.in_channels, case["height"] // factor, case["width"] // factor)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(case["seed"]))

    def run(**more):
        return pipe(**words, width=case["width"], height=case["height"], num_inference_steps=case["steps"],
                    guidance_scale=case["cfg"], eta=case["eta"], num_images_per_prompt=case["count"],
                    generator=torch.Generator().manual_seed(case["seed"]), latents=latents, **more).images
    final = run(output_type="latent")
    name = case["name"]
    out[name + ".final"] = final
    spread = final.std().item()
    limits = (0.5, 4.0) if case["cfg"] < 8 else (0.3, 6.0)
    note = "" if limits[0] <= spread <= limits[1] else "  <-- outside 0.5..4"
    if latents is None:
        print(f"  {name}: std {spread:.2f}{note}", flush=True)
    if keep_picture:
        out[name + ".start"] = start
        out[name + ".picture"] = torch.tensor((run(output_type="np") * 255).round().astype("uint8"))
    return final


def double_check(pipe, case, final):
    """How far f32 is from f64 for one case: what a limit on the final latents can mean."""
    import copy
    wide = copy.deepcopy(pipe).to(torch.float64)
    out = {}
    draw(pipe, case, out, True)
    got = draw(wide, case, {}, False, latents=out[case["name"] + ".start"].double())
    return (got.float() - final).abs().max().item()


def make(name):
    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(str(MODELS / name), torch_dtype=torch.float32, safety_checker=None)
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    s = 8 * factor
    prediction = pipe.scheduler.config.get("prediction_type", "epsilon")
    plain = {"prompt": PROMPTS[1], "negative": NEGATIVE, "width": s, "height": s, "steps": 20, "cfg": 7.5,
             "seed": 1234, "eta": 0.0, "clip_skip": 0, "count": 1, "scheduler": None}
    cases = [
        {"name": "square", **plain},
        {"name": "tall", **plain, "height": s * 3 // 2, "prompt": PROMPTS[2]},
        {"name": "wide_odd", **plain, "width": s + 2 * factor, "height": s - 2 * factor, "steps": 7},
        {"name": "plain_cfg1", **plain, "cfg": 1.0, "seed": 7},
        {"name": "no_negative_long", **plain, "negative": "", "prompt": PROMPTS[3], "cfg": 4.0, "seed": 2 ** 33 + 5},
        {"name": "batch2", **plain, "count": 2, "steps": 9},
        {"name": "clip_skip1", **plain, "clip_skip": 1},
    ]
    main = len(cases)
    cases += [{"name": "scheduler." + n, **plain, "eta": eta, "scheduler": config}
              for n, config, eta in scheduler_cases(prediction)]
    cases += [{"name": "scheduler." + n + ".3", **plain, "steps": 3, "eta": eta, "scheduler": config}
              for n, config, eta in scheduler_cases(prediction) if n in ("pndm", "dpm", "unipc", "lms", "heun", "dpm_sde")]
    out = {}
    with torch.no_grad():
        short = text_part(pipe, out)
        unet_part(pipe, out, 8, 6)
        vae_part(pipe, out, 64, factor)
        finals = [draw(pipe, c, out, i < main) for i, c in enumerate(cases)]
        noise = double_check(pipe, cases[0], finals[0])
    EXPECTED.mkdir(parents=True, exist_ok=True)
    path = EXPECTED / f"{name}.safetensors"
    write_tensors(path, out)
    write_json(EXPECTED / f"{name}.json", {
        "model": name, "factor": factor, "prediction": prediction,
        "text": {"prompts": PROMPTS, "ids": short,
                 "note": "ids: start and end, no padding, not cut; the tensors text.* are cut and padded to 77"},
        "f64_difference": {"square.final": noise}, "cases": cases})
    print(f"{name}: {path.stat().st_size} bytes, f32 against f64 {noise:.1e}", flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("models", nargs="*", default=["tiny-sd1", "tiny-sd2", "tiny-emoji"])
    args = args.parse_args()
    common.quiet()
    for name in args.models:
        make(name)


if __name__ == "__main__":
    main()
