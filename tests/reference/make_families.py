"""Makes tests/data/models/ and tests/data/expected/ of the families that have more than a text encoder, a UNet and a VAE:

tiny-sdxl     two text encoders, pooled text (eos_token_id 2: the highest id), sizes beside the timestep, a first block without
              attention, Euler "leading"
tiny-refiner  SDXL's refiner: text_encoder_2 alone (eos_token_id is the end token), an aesthetic score, four blocks, a VAE with
              latents_mean and latents_std
tiny-inpaint  SD's inpainting UNet with nine input channels; PNDM whose skip_prk_steps the pipeline's constructor corrects
tiny-odd      a UNet alone: guidance beside the timestep (latent consistency models), lists in transformer_layers_per_block with
              their reverse, no middle block; guided.final is a drawing with parts of the others (draw_guided)

Each is trained a moment, as in make_models.py; the VAE once for all. The expected values are named as in make_expected.py; beside those
  text.<part>.ids, text.<part>.states (last layer but one, no norm; SD: the last, normed), text.<part>.skip1, text.<part>.pooled
  unet.pooled, unet.time_ids, unet.guidance (what limn's graph is given: 1000 (cfg - 1))
  <case>.image f16 [h, w, 3] in -1..1 and <case>.mask u8 [h, w]: what inpainting begins with, strength 1
The cases "comfy" are not diffusers': Euler on the sigmas of ComfyUI's schedule "normal", ComfyUI's sizes (768 x 768), a negative
prompt that is always encoded, and its aesthetic scores, written down here from its formulas."""

import argparse
import shutil
import time

import torch

import common
from common import EXPECTED, MODELS, captions, liven, picture, round_to, train_tokenizer, write_json, write_tensors
from make_models import BETAS, plain_config, train_vae

TEXT = {"hidden_size": 24, "intermediate_size": 56, "num_attention_heads": 3, "num_hidden_layers": 3, "hidden_act": "quick_gelu"}
TEXT_2 = {"hidden_size": 20, "intermediate_size": 44, "num_attention_heads": 2, "num_hidden_layers": 4, "hidden_act": "gelu",
          "projection_dim": 12}
VAE = {"block_out_channels": [6, 6, 9, 9], "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 3, "sample_size": 64}
CROSS, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
UNET = {"sample_size": 8, "out_channels": 4, "norm_num_groups": 3, "use_linear_projection": True}
EULER = {"_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.19.0.dev0", **BETAS, "clip_sample": False,
         "interpolation_type": "linear", "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": False,
         "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": None,
         "use_karras_sigmas": False}
VOCAB = 560

SPECS = {
    "tiny-sdxl": {
        "pipeline": "StableDiffusionXLPipeline", "dtype": torch.float16, "index": {"force_zeros_for_empty_prompt": True,
                                                                                   "add_watermarker": None},
        "text": {"text_encoder": ({**TEXT, "eos_token_id": 2}, "<|endoftext|>"),
                 "text_encoder_2": ({**TEXT_2, "eos_token_id": 2}, "!")},
        "unet": {**UNET, "in_channels": 4, "block_out_channels": [6, 9, 12], "down_block_types": ["DownBlock2D", CROSS, CROSS],
                 "up_block_types": [CROSS_UP, CROSS_UP, "UpBlock2D"], "layers_per_block": 2, "attention_head_dim": [2, 3, 4],
                 "transformer_layers_per_block": [1, 1, 2], "cross_attention_dim": 44, "addition_embed_type": "text_time",
                 "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 12 + 6 * 8},
        "vae": {**VAE, "scaling_factor": 0.13025, "force_upcast": True}, "scheduler": EULER,
    },
    "tiny-refiner": {
        "pipeline": "StableDiffusionXLImg2ImgPipeline", "dtype": torch.bfloat16,
        "index": {"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True, "text_encoder": [None, None],
                  "tokenizer": [None, None]},
        "text": {"text_encoder_2": ({**TEXT_2, "eos_token_id": VOCAB - 1}, "!")},
        "unet": {**UNET, "in_channels": 4, "block_out_channels": [6, 9, 9, 6],
                 "down_block_types": ["DownBlock2D", CROSS, CROSS, "DownBlock2D"],
                 "up_block_types": ["UpBlock2D", CROSS_UP, CROSS_UP, "UpBlock2D"], "layers_per_block": 1,
                 "attention_head_dim": [2, 3, 3, 2], "transformer_layers_per_block": 2, "cross_attention_dim": 20,
                 "addition_embed_type": "text_time", "addition_time_embed_dim": 6,
                 "projection_class_embeddings_input_dim": 12 + 5 * 6},
        "vae": {**VAE, "scaling_factor": 0.5}, "normed": True, "scheduler": EULER,
    },
    "tiny-inpaint": {
        "pipeline": "StableDiffusionInpaintPipeline", "dtype": torch.float16,
        "index": {"feature_extractor": [None, None], "requires_safety_checker": False, "safety_checker": [None, None]},
        "text": {"text_encoder": ({**TEXT, "eos_token_id": 2}, "<|endoftext|>")},
        "unet": {**UNET, "in_channels": 9, "block_out_channels": [6, 9, 12], "use_linear_projection": False,
                 "down_block_types": [CROSS, CROSS, "DownBlock2D"], "up_block_types": ["UpBlock2D", CROSS_UP, CROSS_UP],
                 "layers_per_block": 1, "attention_head_dim": 3, "cross_attention_dim": 24},
        "vae": {**VAE, "scaling_factor": 0.18215},
        "scheduler": {"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", **BETAS, "set_alpha_to_one": False,
                      "skip_prk_steps": False, "steps_offset": 0, "trained_betas": None},
    },
}
ODD = {**UNET, "in_channels": 4, "block_out_channels": [6, 6, 9], "down_block_types": ["DownBlock2D", CROSS, CROSS],
       "up_block_types": [CROSS_UP, CROSS_UP, "UpBlock2D"], "layers_per_block": [1, 2, 1], "attention_head_dim": [2, 3, 3],
       "transformer_layers_per_block": [1, [1, 2], [2]], "reverse_transformer_layers_per_block": [[1, 2], [2, 1, 1], 1],
       "mid_block_type": None, "cross_attention_dim": 20, "time_cond_proj_dim": 10}
PROMPTS = ["", "a red circle on a blue ground", "蓝色背景上的红苹果，and it's GREEN!  ok 42",
           "a yellow cat on a white ground, a purple dog on a black ground, " * 8]
NEGATIVE = "green stripes"
SIDE = 64


def build(spec, seed):
    """Random modules of a spec, f32: ({part: (encoder, tokenizer's padding)}, UNet, VAE)."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    texts = {}
    for part, (config, pad) in spec["text"].items():
        kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
        texts[part] = kind(CLIPTextConfig(vocab_size=VOCAB, max_position_embeddings=77, bos_token_id=VOCAB - 2,
                                          pad_token_id=0 if pad == "!" else 1, **config)).eval()
        with torch.no_grad():
            texts[part].get_input_embeddings().weight.mul_(20)
        liven(texts[part], g, peak=4.0)
    unet = UNet2DConditionModel(**spec["unet"])
    liven(unet, g, peak=2.5)
    vae = AutoencoderKL(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, **spec["vae"])
    liven(vae, g, peak=2.0)
    return texts, unet.eval(), vae.eval()


def states_of(spec, texts, tokenizers, words, skip=0):
    """(states side by side, pooled or None), as encode_prompt of the spec's pipeline has them."""
    beside, pooled = [], None
    for part, text in texts.items():
        ids = tokenizers[part](words, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        states, pooled = encode(spec, part, text, ids, skip)
        beside.append(states)
    return torch.cat(beside, -1), pooled


def encode(spec, part, text, ids, skip=0):
    inner = text.text_model if hasattr(text, "text_model") else text
    layers = []
    hooks = [m.register_forward_hook(lambda _m, _i, o: layers.append(o[0] if isinstance(o, tuple) else o))
             for m in [inner.embeddings, *inner.encoder.layers]]
    got = text(ids)
    for h in hooks:
        h.remove()
    if "XL" in spec["pipeline"]:
        return layers[-2 - skip], got.text_embeds if part == "text_encoder_2" else got.pooler_output
    return inner.final_layer_norm(layers[-1 - skip]), got.pooler_output


def latents_of(vae, mean):
    """Scaled latents, as the pipelines scale them."""
    c = vae.config
    if c.latents_mean is not None:
        shift, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (c.latents_mean, c.latents_std))
        return (mean - shift) * c.scaling_factor / std
    return mean * c.scaling_factor


def rect_mask(g, n):
    """[n, 1, SIDE, SIDE], 1 in a rectangle."""
    mask = torch.zeros(n, 1, SIDE, SIDE)
    for m in mask:
        y, x = (torch.randint(0, SIDE // 2, (2,), generator=g) // 8 * 8).tolist()
        h, w = (torch.randint(2, 5, (2,), generator=g) * 8).tolist()
        m[:, y:y + h, x:x + w] = 1
    return mask


def train_unet(spec, texts, tokenizers, unet, vae, steps, report):
    g = torch.Generator().manual_seed(6)
    words = captions()
    pick = torch.randperm(len(words), generator=g)[:160].tolist()
    sizes, score = SIDE, "refiner" in spec.get("name", "")
    with torch.no_grad():
        pixels = torch.stack([picture(*words[i][1:], sizes, sizes) for i in pick])
        states, pooled = states_of(spec, texts, tokenizers, [words[i][0] for i in pick])
        empty, empty_pooled = states_of(spec, texts, tokenizers, [""])
        x0 = torch.cat([latents_of(vae, vae.encode(b).latent_dist.mean) for b in pixels.split(8)])
        masks = rect_mask(g, len(pick))
        kept = torch.cat([latents_of(vae, vae.encode(b).latent_dist.mean) for b in (pixels * (masks < 0.5)).split(8)])
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    bar = torch.cumprod(1 - betas, 0)
    opt = torch.optim.AdamW(unet.parameters(), lr=4e-3)
    loss_mean = 1.0
    for step in range(steps):
        i = torch.randint(len(pick), (16,), generator=g)
        t = torch.randint(1000, (16,), generator=g)
        noise = torch.randn(x0[i].shape, generator=g)
        a = bar[t].sqrt().float().view(-1, 1, 1, 1)
        s = (1 - bar[t]).sqrt().float().view(-1, 1, 1, 1)
        dropped = torch.rand(16, generator=g) < 0.1
        cond = torch.where(dropped.view(-1, 1, 1), empty, states[i])
        x = a * x0[i] + s * noise
        more = {}
        if unet.config.addition_embed_type:
            crop = torch.randint(0, 64, (16, 2), generator=g).float()
            last = torch.rand(16, 1, generator=g) * 9 if score else torch.full((16, 2), float(SIDE))
            ids = torch.cat([torch.full((16, 2), 64.0) + 64 * torch.randint(0, 3, (16, 1), generator=g), crop, last], 1)
            more = {"added_cond_kwargs": {"text_embeds": torch.where(dropped.view(-1, 1), empty_pooled, pooled[i]),
                                          "time_ids": ids}}
        if unet.config.in_channels == 9:
            x = torch.cat([x, masks[i][:, :, ::8, ::8], kept[i]], 1)
        for group in opt.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps) + 1e-4
        loss = ((unet(x, t, cond, **more).sample - noise) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        opt.step()
        loss_mean += 0.03 * (loss.item() - loss_mean)
    report(f"unet: loss {loss_mean:.3f}, latents std {x0.std():.2f}")


def norm_latents(vae):
    """Gives the VAE latents_mean and latents_std of its latents, as Playground 2.5 has them."""
    words = captions()[::37]
    with torch.no_grad():
        mean = vae.encode(torch.stack([picture(*w[1:], SIDE, SIDE) for w in words])).latent_dist.mean
    vae.register_to_config(latents_mean=[round(v, 4) for v in mean.mean((0, 2, 3)).tolist()],
                           latents_std=[round(v, 4) for v in mean.std((0, 2, 3)).tolist()])


def save(folder, spec, texts, unet, vae):
    dtype = spec["dtype"]
    index = {"_class_name": spec["pipeline"], "_diffusers_version": spec["scheduler"]["_diffusers_version"],
             "scheduler": ["diffusers", spec["scheduler"]["_class_name"]], "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "AutoencoderKL"], **spec["index"]}
    for part, text in texts.items():
        index[part] = ["transformers", type(text).__name__]
        index[part.replace("text_encoder", "tokenizer")] = ["transformers", "CLIPTokenizer"]
        (folder / part).mkdir(parents=True, exist_ok=True)
        c = text.config
        write_json(folder / part / "config.json", {
            "architectures": [type(text).__name__], "bos_token_id": 0, "eos_token_id": c.eos_token_id, "hidden_act": c.hidden_act,
            "hidden_size": c.hidden_size, "intermediate_size": c.intermediate_size, "layer_norm_eps": c.layer_norm_eps,
            "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": c.num_attention_heads,
            "num_hidden_layers": c.num_hidden_layers, "pad_token_id": c.pad_token_id, "projection_dim": c.projection_dim,
            "torch_dtype": str(dtype).replace("torch.", ""), "vocab_size": c.vocab_size})
        weights = {k: v for k, v in text.state_dict().items() if not k.endswith("position_ids")}
        if not any(k.startswith("text_model.") for k in weights):
            weights = {"text_model." + k: v for k, v in weights.items()}
        write_tensors(folder / part / "model.safetensors", weights, dtype)
    write_json(folder / "model_index.json", dict(sorted(index.items())))
    for part, module in (("unet", unet), ("vae", vae)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        write_json(folder / part / "config.json", plain_config(module))
        write_tensors(folder / part / "diffusion_pytorch_model.safetensors", module.state_dict(), dtype)
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", spec["scheduler"])


def take_vae(vae):
    """The first model's trained VAE, with its latents scaled for this one's scaling_factor."""
    from diffusers import AutoencoderKL
    first = AutoencoderKL.from_pretrained(MODELS / next(iter(SPECS)) / "vae")
    k = first.config.scaling_factor / vae.config.scaling_factor
    vae.load_state_dict(first.state_dict())
    with torch.no_grad():
        n = vae.config.latent_channels
        vae.quant_conv.weight[:n] *= k
        vae.quant_conv.bias[:n] *= k
        vae.post_quant_conv.weight /= k


def make_model(name, vae_steps, unet_steps):
    from transformers import CLIPTokenizer
    began = time.time()

    def report(line):
        print(f"{name}: {line} ({time.time() - began:.0f} s)", flush=True)
    spec, folder = {**SPECS[name], "name": name}, MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    tokenizers = {}
    for part, (_, pad) in spec["text"].items():
        where = folder / part.replace("text_encoder", "tokenizer")
        train_tokenizer(where, VOCAB, pad)
        tokenizers[part] = CLIPTokenizer.from_pretrained(where)
    texts, unet, vae = build(spec, seed=list(SPECS).index(name) * 100 + 31)
    report(", ".join(f"{n} {sum(p.numel() for p in m.parameters())}" for n, m in (*texts.items(), ("unet", unet), ("vae", vae))))
    for text in texts.values():
        round_to(text, spec["dtype"])
    if name == next(iter(SPECS)):
        train_vae(spec, vae, vae_steps, report)
    else:
        take_vae(vae)
    round_to(vae, spec["dtype"])
    if spec.get("normed"):
        norm_latents(vae)
    train_unet(spec, texts, tokenizers, unet, vae, unet_steps, report)
    round_to(unet, spec["dtype"])
    save(folder, spec, texts, unet, vae)
    report(f"{common.size_of(folder)} bytes")


# --- what diffusers makes of them ---

def text_part(spec, pipe, out):
    ids_of = {}
    for part in spec["text"]:
        tok, text = getattr(pipe, part.replace("text_encoder", "tokenizer")), getattr(pipe, part)
        ids = tok(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        out[f"text.{part}.ids"] = ids
        out[f"text.{part}.states"], out[f"text.{part}.pooled"] = encode(spec, part, text, ids)
        out[f"text.{part}.skip1"] = encode(spec, part, text, ids[1:2], 1)[0]
        ids_of[part] = [[int(t) for t in tok(p).input_ids] for p in PROMPTS]
    return ids_of


def unet_part(unet, out):
    g = torch.Generator().manual_seed(11)
    c = unet.config
    sample = torch.randn(2, c.in_channels, 8, 6, generator=g)
    steps = torch.tensor([981, 17])
    states = 3 * torch.randn(2, 9, c.cross_attention_dim, generator=g)
    out |= {"unet.sample": sample, "unet.timesteps": steps, "unet.states": states}
    more = {}
    if c.addition_embed_type:
        count = 5 if c.projection_class_embeddings_input_dim == 42 else 6
        out["unet.pooled"] = torch.randn(2, c.projection_class_embeddings_input_dim - count * c.addition_time_embed_dim, generator=g)
        out["unet.time_ids"] = torch.tensor([[64.0, 80, 3, 0, 7.5, 64][:count], [1024.0, 768, 0, 128, 2.5, 512][:count]])
        more = {"added_cond_kwargs": {"text_embeds": out["unet.pooled"], "time_ids": out["unet.time_ids"]}}
    if c.time_cond_proj_dim:
        from diffusers import StableDiffusionPipeline
        w = torch.tensor([7.5, 1.0]) - 1
        out["unet.guidance"] = 1000 * w
        more["timestep_cond"] = StableDiffusionPipeline.get_guidance_scale_embedding(None, w, embedding_dim=c.time_cond_proj_dim)
    out["unet.out"] = unet(sample, steps, states, **more).sample


def pipeline_of(spec, folder):
    import diffusers
    more = {"safety_checker": None} if "Inpaint" in spec["pipeline"] else {"add_watermarker": False}
    pipe = getattr(diffusers, spec["pipeline"]).from_pretrained(str(folder), torch_dtype=torch.float32, **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def start_noise(case):
    return torch.randn((case["count"], 4, case["height"] // 8, case["width"] // 8),
                       generator=torch.Generator().manual_seed(case["seed"]))


def draw(spec, pipe, case, out):
    """One call of the pipeline with all its defaults but those of the case."""
    import diffusers
    config = case["scheduler"] or pipe.scheduler.config
    scheduler = getattr(diffusers, config["_class_name"] if case["scheduler"] else type(pipe.scheduler).__name__)
    parts = dict(pipe.components)
    more = {"requires_safety_checker": False} if "XL" not in spec["pipeline"] else {
        k: v for k, v in spec["index"].items() if k in ("requires_aesthetics_score", "force_zeros_for_empty_prompt")}
    one = type(pipe)(**{**parts, "scheduler": scheduler.from_config(config)}, **more)
    one.set_progress_bar_config(disable=True)
    call = {"prompt": case["prompt"], "negative_prompt": case["negative"], "num_inference_steps": case["steps"],
            "guidance_scale": case["cfg"], "num_images_per_prompt": case["count"],
            "generator": torch.Generator().manual_seed(case["seed"])}
    # (width, height) and (x, y) in the cases, as limn's options have them; diffusers' are (height, width) and (top, left).
    for ours, theirs in (("original", "original_size"), ("crop", "crops_coords_top_left"), ("target", "target_size")):
        if ours in case:
            call[theirs] = tuple(case[ours][::-1])
    for ours, theirs in (("score", "aesthetic_score"), ("negative_score", "negative_aesthetic_score")):
        if ours in case:
            call[theirs] = case[ours]
    start = start_noise(case)
    if spec["pipeline"].endswith("Img2ImgPipeline"):
        # From noise alone: a 4-channel "image" is taken as the latent, and a denoising_start of nearly 0 adds no noise.
        one.scheduler.set_timesteps(case["steps"])
        call |= {"image": start * one.scheduler.init_noise_sigma, "denoising_start": 1e-6}
    elif spec["pipeline"].endswith("InpaintPipeline"):
        image = picture("orange", "wave", "purple", case["height"], case["width"], 0.1, 0.2)[None].half().float()
        mask = torch.zeros(1, 1, case["height"], case["width"])
        mask[:, :, 16:48, 8:40] = 1
        out[case["name"] + ".image"] = image[0].permute(1, 2, 0).half()
        out[case["name"] + ".mask"] = mask[0, 0].to(torch.uint8)
        call |= {"image": image, "mask_image": mask, "height": case["height"], "width": case["width"], "strength": 1.0}
    else:
        call |= {"height": case["height"], "width": case["width"]}

    def run(kind):
        return one(**{**call, "generator": torch.Generator().manual_seed(case["seed"])}, output_type=kind).images
    final = run("latent")
    finish(case, out, final, lambda: run("np"))


def finish(case, out, final, decoded):
    name, spread = case["name"], final.std().item()
    out[name + ".final"] = final
    print(f"  {name}: std {spread:.2f}" + ("" if 0.2 <= spread <= 4 else "  <-- outside 0.2..4"), flush=True)
    if case["picture"]:
        out[name + ".picture"] = torch.tensor((decoded() * 255).round().astype("uint8"))


def draw_comfy(spec, pipe, case, out):
    """ComfyUI's euler on its schedule "normal"; the UNet and the text encoders are diffusers'."""
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    bar = torch.cumprod(1 - betas, 0)
    table = ((1 - bar) / bar).sqrt().float()

    def sigma_of(t):
        low = t.long()
        part = t - low
        high = torch.clamp(low + 1, max=999)
        return ((1 - part) * table[low].log() + part * table[high].log()).exp()
    sigmas = torch.cat([sigma_of(torch.linspace(999, 0, case["steps"])), torch.zeros(1)])
    tokenizers = {part: getattr(pipe, part.replace("text_encoder", "tokenizer")) for part in spec["text"]}
    texts = {part: getattr(pipe, part) for part in spec["text"]}
    rows = [states_of(spec, texts, tokenizers, [w]) for w in (case["negative"] or "", case["prompt"])]
    states, pooled = torch.cat([r[0] for r in rows]), torch.cat([r[1] for r in rows])
    more = {}
    if "XL" in spec["pipeline"]:
        ends = [[2.5], [6.0]] if "refiner" in spec["name"] else [[768.0, 768.0]] * 2
        more = {"added_cond_kwargs": {"text_embeds": pooled,
                                      "time_ids": torch.tensor([[768.0, 768.0, 0.0, 0.0, *e] for e in ends])}}
    noise = start_noise(case)
    x = noise * torch.sqrt(1 + sigmas[0] ** 2)
    for s, after in zip(sigmas[:-1], sigmas[1:]):
        t = (s.log() - table.log()).abs().argmin()
        given = (x / torch.sqrt(s ** 2 + 1)).expand(2, -1, -1, -1)
        without, with_words = pipe.unet(given, t.float(), states, **more).sample.chunk(2)
        guided = without + case["cfg"] * (with_words - without)
        x = x + guided * (after - s)
    def decoded():
        c = pipe.vae.config
        z = x / c.scaling_factor if c.latents_mean is None else \
            x * torch.tensor(c.latents_std).view(1, -1, 1, 1) / c.scaling_factor + torch.tensor(c.latents_mean).view(1, -1, 1, 1)
        return ((pipe.vae.decode(z).sample / 2 + 0.5).clamp(0, 1)).permute(0, 2, 3, 1).numpy()
    finish(case, out, x, decoded)


def cases_of(name):
    plain = {"prompt": PROMPTS[1], "negative": NEGATIVE, "width": SIDE, "height": SIDE, "steps": 20, "cfg": 5.0, "seed": 1234,
             "count": 1, "scheduler": None, "sampler": None, "picture": True}
    short = {**plain, "steps": 6, "picture": False}
    trailing = {**EULER, "timestep_spacing": "trailing"}
    if name == "tiny-sdxl":
        return [
            {"name": "square", **plain},
            {"name": "no_negative", **short, "negative": None, "width": 80, "prompt": PROMPTS[2]},
            {"name": "empty_negative", **short, "negative": "", "prompt": PROMPTS[3]},
            {"name": "sizes", **short, "count": 2, "original": [200, 120], "crop": [5, 33], "target": [72, 96]},
            {"name": "cfg1", **short, "cfg": 1.0},
            {"name": "turbo", **short, "steps": 4, "cfg": 0.0, "negative": None,
             "scheduler": {**trailing, "_class_name": "EulerAncestralDiscreteScheduler"}},
            {"name": "lightning", **short, "steps": 2, "cfg": 0.0, "negative": None, "scheduler": trailing},
            {"name": "comfy", **plain, "negative": None, "sampler": "euler"},
        ]
    if name == "tiny-refiner":
        return [
            {"name": "square", **plain},
            {"name": "no_negative", **short, "negative": None},
            {"name": "sizes", **short, "original": [200, 120], "crop": [5, 33], "score": 8.5, "negative_score": 1.5},
            {"name": "comfy", **short, "sampler": "euler"},
        ]
    return [{"name": "square", **plain, "cfg": 7.5}, {"name": "batch2", **short, "count": 2, "width": 80, "cfg": 3.0}]


def make_expected(name):
    spec = {**SPECS[name], "name": name}
    pipe = pipeline_of(spec, MODELS / name)
    out = {}
    with torch.no_grad():
        ids = text_part(spec, pipe, out)
        unet_part(pipe.unet, out)
        for case in cases_of(name):
            (draw_comfy if case["sampler"] else draw)(spec, pipe, case, out)
    write_tensors(EXPECTED / f"{name}.safetensors", out)
    write_json(EXPECTED / f"{name}.json", {"model": name, "text": {"prompts": PROMPTS, "ids": ids}, "cases": cases_of(name)})
    print(f"{name}: {(EXPECTED / f'{name}.safetensors').stat().st_size} bytes", flush=True)


def make_odd():
    from diffusers import UNet2DConditionModel
    torch.manual_seed(77)
    unet = UNet2DConditionModel(**ODD).eval()
    liven(unet, torch.Generator().manual_seed(78), peak=2.5)
    round_to(unet, torch.bfloat16)
    folder = MODELS / "tiny-odd" / "unet"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", plain_config(unet))
    write_tensors(folder / "diffusion_pytorch_model.safetensors", unet.state_dict(), torch.bfloat16)
    out = {}
    with torch.no_grad():
        unet_part(unet, out)
        out["guided.final"] = draw_guided(unet)
    write_tensors(EXPECTED / "tiny-odd.safetensors", out)


def draw_guided(unet):
    """StableDiffusionPipeline with this UNet, the refiner's text encoder and the inpainting model's VAE: a prompt, guidance 4, seed 5,
    3 steps of Euler, 64x64. The pipeline tells the UNet the guidance and asks it once a step."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline
    from transformers import CLIPTextModel, CLIPTokenizer
    from_refiner = MODELS / "tiny-refiner"
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(MODELS / "tiny-inpaint" / "vae"), unet=unet, safety_checker=None, feature_extractor=None,
        text_encoder=CLIPTextModel.from_pretrained(from_refiner / "text_encoder_2", torch_dtype=torch.float32),
        tokenizer=CLIPTokenizer.from_pretrained(from_refiner / "tokenizer_2"), requires_safety_checker=False,
        scheduler=EulerDiscreteScheduler.from_config(EULER))
    pipe.set_progress_bar_config(disable=True)
    return pipe(PROMPTS[1], height=SIDE, width=SIDE, num_inference_steps=3, guidance_scale=4.0, output_type="latent",
                generator=torch.Generator().manual_seed(5)).images


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("models", nargs="*", default=[*SPECS, "tiny-odd"])
    args.add_argument("--vae-steps", type=int, default=200)
    args.add_argument("--unet-steps", type=int, default=300)
    args.add_argument("--expected", action="store_true", help="only the expected values, from the models that are there")
    args = args.parse_args()
    common.quiet()
    for name in args.models:
        if name == "tiny-odd":
            make_odd()
            continue
        if not args.expected:
            make_model(name, args.vae_steps, args.unet_steps)
        make_expected(name)


if __name__ == "__main__":
    main()
