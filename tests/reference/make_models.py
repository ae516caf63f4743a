"""Makes tests/data/models/: tiny Stable Diffusion folders with odd shapes, in the layout of diffusers.

tiny-sd1    as SD 1.5's hub files: f16, quick_gelu, conv projections, attention_head_dim an int (heads!), PNDM, the VAE's
            attention under its old names (query, key, value, proj_attn), configs without the keys that SD 1.5's lack
tiny-sd2    as SD 2.1: bf16, v-prediction, linear projections, gelu, lists where SD 1 has numbers, the UNet in two
            shards, "!" as padding, DDIM, text encoder without the text_model. prefix, no attention in the VAE
tiny-emoji  as limn's own model: VAE of factor 16 with 16 latent channels, v-prediction, zero terminal SNR, trailing

Each is trained a moment on smooth captioned pictures, so that sampling neither dies out nor blows up and a mistake
shows. Weights are rounded to the stored type. Run again it makes the same files on the same kind of machine."""

import argparse
import shutil
import time

import torch

import common
from common import MODELS, captions, liven, picture, round_to, train_tokenizer, write_json, write_tensors

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}

SPECS = {
    "tiny-sd1": {
        "dtype": torch.float16, "vocab": 600, "pad": "<|endoftext|>", "pixels": 64,
        "text": {"hidden_size": 48, "intermediate_size": 116, "num_attention_heads": 4, "num_hidden_layers": 3,
                 "hidden_act": "quick_gelu", "eos_token_id": 2},
        "unet": {"sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [10, 20, 35],
                 "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
                 "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
                 "layers_per_block": 2, "attention_head_dim": 5, "cross_attention_dim": 48, "norm_num_groups": 5},
        "unet_keys": ["act_fn", "attention_head_dim", "block_out_channels", "center_input_sample",
                      "cross_attention_dim", "down_block_types", "downsample_padding", "flip_sin_to_cos",
                      "freq_shift", "in_channels", "layers_per_block", "mid_block_scale_factor", "norm_eps",
                      "norm_num_groups", "out_channels", "sample_size", "up_block_types"],
        "vae": {"block_out_channels": [9, 12, 15, 21], "latent_channels": 4, "layers_per_block": 2,
                "norm_num_groups": 3, "sample_size": 64},
        "vae_keys": ["act_fn", "block_out_channels", "down_block_types", "in_channels", "latent_channels",
                     "layers_per_block", "norm_num_groups", "out_channels", "sample_size", "up_block_types"],
        "scheduler": {"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", **BETAS, "clip_sample": False,
                      "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None},
        "prediction": "epsilon", "zero_snr": False,
    },
    "tiny-sd2": {
        "dtype": torch.bfloat16, "vocab": 580, "pad": "!", "pixels": 64,
        "text": {"hidden_size": 60, "intermediate_size": 120, "num_attention_heads": 5, "num_hidden_layers": 3,
                 "hidden_act": "gelu", "eos_token_id": 2},
        "unet": {"sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [12, 21, 30],
                 "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                 "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
                 "layers_per_block": [1, 2, 1], "attention_head_dim": [2, 3, 3], "cross_attention_dim": 60,
                 "transformer_layers_per_block": [1, 2, 1], "use_linear_projection": True, "norm_num_groups": 3,
                 "upcast_attention": True},
        "vae": {"block_out_channels": [10, 10, 15, 20], "latent_channels": 4, "layers_per_block": 1,
                "norm_num_groups": 5, "sample_size": 64, "mid_block_add_attention": False, "scaling_factor": 0.18215},
        "scheduler": {"_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0", **BETAS, "clip_sample": False,
                      "prediction_type": "v_prediction", "set_alpha_to_one": False, "skip_prk_steps": True,
                      "steps_offset": 1, "trained_betas": None},
        "prediction": "v_prediction", "zero_snr": False,
    },
    "tiny-emoji": {
        "dtype": torch.bfloat16, "vocab": 640, "pad": "<|endoftext|>", "pixels": 128,
        "text": {"hidden_size": 48, "intermediate_size": 144, "num_attention_heads": 3, "num_hidden_layers": 3,
                 "hidden_act": "gelu", "eos_token_id": 639},
        "unet": {"sample_size": 8, "in_channels": 16, "out_channels": 16, "block_out_channels": [20, 32],
                 "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                 "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
                 "layers_per_block": 2, "attention_head_dim": [2, 4], "cross_attention_dim": 48,
                 "use_linear_projection": True, "norm_num_groups": 4},
        "vae": {"block_out_channels": [6, 9, 12, 18, 24], "latent_channels": 16, "layers_per_block": 1,
                "norm_num_groups": 3, "sample_size": 128, "scaling_factor": 0.83},
        "scheduler": {"_class_name": "DDIMScheduler", "_diffusers_version": "0.42.1", **BETAS, "clip_sample": False,
                      "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "set_alpha_to_one": True,
                      "steps_offset": 1, "timestep_spacing": "trailing"},
        "prediction": "v_prediction", "zero_snr": True,
    },
}


def build(spec, seed):
    """Random modules of a spec: (text encoder, UNet, VAE), f32."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=spec["vocab"], max_position_embeddings=77, bos_token_id=spec["vocab"] - 2,
                                        pad_token_id=0 if spec["pad"] == "!" else 1, projection_dim=32, **spec["text"]))
    with torch.no_grad():
        text.get_input_embeddings().weight.mul_(20)
    liven(text, g, peak=4.0)
    unet = UNet2DConditionModel(**spec["unet"])
    liven(unet, g, peak=2.5)
    blocks = len(spec["vae"]["block_out_channels"])
    vae = AutoencoderKL(down_block_types=["DownEncoderBlock2D"] * blocks, up_block_types=["UpDecoderBlock2D"] * blocks,
                        **spec["vae"])
    liven(vae, g, peak=2.0)
    return text.eval(), unet.eval(), vae.eval()


def train_vae(spec, vae, steps, report):
    """A few steps of reconstruction, then the latents are scaled to std 1 after scaling_factor."""
    g = torch.Generator().manual_seed(5)
    words = captions()
    opt = torch.optim.AdamW(vae.parameters(), lr=3e-3, weight_decay=0.0)

    def draw(n):
        out = []
        for _ in range(n):
            _, c, s, b = words[int(torch.randint(len(words), (1,), generator=g))]
            dx, dy = (torch.rand(2, generator=g) - 0.5).tolist()
            out.append(picture(c, s, b, 64, 64, dx, dy))
        return torch.stack(out)
    for step in range(steps):
        batch = draw(4)
        for group in opt.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps) + 1e-4
        mean = vae.encode(batch).latent_dist.mean
        out = vae.decode(mean + 0.02 * torch.randn(mean.shape, generator=g)).sample
        loss = (out - batch).abs().mean() + 1e-3 * (mean ** 2).mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        opt.step()
    with torch.no_grad():
        mean = vae.encode(draw(16)).latent_dist.mean
        k = 1 / (vae.config.scaling_factor * mean.std())
        n = vae.config.latent_channels
        vae.quant_conv.weight[:n] *= k
        vae.quant_conv.bias[:n] *= k
        vae.post_quant_conv.weight /= k
    report(f"vae: last loss {loss.item():.3f}")


def train_unet(spec, text, tokenizer, unet, vae, steps, report):
    """A few hundred steps on the captioned pictures' latents with the spec's own target and noise schedule."""
    g = torch.Generator().manual_seed(6)
    words = captions()
    pick = torch.randperm(len(words), generator=g)[:160].tolist()
    size = spec["pixels"]
    with torch.no_grad():
        ids = tokenizer([words[i][0] for i in pick], padding="max_length", max_length=77, truncation=True,
                        return_tensors="pt").input_ids
        states = text(ids)[0]
        x0 = torch.cat([vae.encode(torch.stack([picture(*words[i][1:], size, size) for i in pick[j:j + 8]]))
                        .latent_dist.mean for j in range(0, len(pick), 8)]) * vae.config.scaling_factor
        empty = text(tokenizer([""], padding="max_length", max_length=77, return_tensors="pt").input_ids)[0]
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    bar = common.zero_snr_alphas(betas) if spec["zero_snr"] else torch.cumprod(1 - betas, 0)
    opt = torch.optim.AdamW(unet.parameters(), lr=3e-3)
    loss_mean = 1.0
    for step in range(steps):
        i = torch.randint(len(pick), (16,), generator=g)
        t = torch.randint(1000, (16,), generator=g)
        noise = torch.randn(x0[i].shape, generator=g)
        a = bar[t].sqrt().float().view(-1, 1, 1, 1)
        s = (1 - bar[t]).sqrt().float().view(-1, 1, 1, 1)
        cond = torch.where(torch.rand(16, generator=g).view(-1, 1, 1) < 0.1, empty, states[i])
        target = noise if spec["prediction"] == "epsilon" else a * noise - s * x0[i]
        for group in opt.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps) + 1e-4
        loss = ((unet(a * x0[i] + s * noise, t, cond).sample - target) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        opt.step()
        loss_mean += 0.03 * (loss.item() - loss_mean)
    report(f"unet: loss {loss_mean:.3f}, latents std {x0.std():.2f}")


def plain_config(module, keys=None):
    config = {k: v for k, v in module.config.items() if not k.startswith("_")}
    return {"_class_name": type(module).__name__, "_diffusers_version": "0.42.1",
            **{k: v for k, v in sorted(config.items()) if keys is None or k in keys}}


def old_vae_names(name):
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return name


def save(folder, name, spec, text, unet, vae):
    dtype = spec["dtype"]
    write_json(folder / "model_index.json", {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": spec["scheduler"]["_diffusers_version"],
        "feature_extractor": [None, None], "requires_safety_checker": False, "safety_checker": [None, None],
        "scheduler": ["diffusers", spec["scheduler"]["_class_name"]], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]})
    for part in ("scheduler", "text_encoder", "unet", "vae"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", spec["scheduler"])

    t = text.config
    write_json(folder / "text_encoder" / "config.json", {
        "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0,
        "eos_token_id": t.eos_token_id, "hidden_act": t.hidden_act, "hidden_size": t.hidden_size,
        "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": t.intermediate_size,
        "layer_norm_eps": t.layer_norm_eps, "max_position_embeddings": t.max_position_embeddings,
        "model_type": "clip_text_model", "num_attention_heads": t.num_attention_heads,
        "num_hidden_layers": t.num_hidden_layers, "pad_token_id": t.pad_token_id, "projection_dim": t.projection_dim,
        "torch_dtype": str(dtype).replace("torch.", ""), "vocab_size": t.vocab_size})
    weights = {k.removeprefix("text_model."): v for k, v in text.state_dict().items() if not k.endswith("position_ids")}
    if name != "tiny-sd2":
        weights = {"text_model." + k: v for k, v in weights.items()}
    if name == "tiny-sd1":
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    write_tensors(folder / "text_encoder" / "model.safetensors", weights, dtype)

    write_json(folder / "unet" / "config.json", plain_config(unet, spec.get("unet_keys")))
    weights = unet.state_dict()
    if name == "tiny-sd2":
        names, files = sorted(weights), ["diffusion_pytorch_model-0000%d-of-00002.safetensors" % i for i in (1, 2)]
        where = {k: files[i >= len(names) // 2] for i, k in enumerate(names)}
        for f in files:
            write_tensors(folder / "unet" / f, {k: weights[k] for k in names if where[k] == f}, dtype)
        write_json(folder / "unet" / "diffusion_pytorch_model.safetensors.index.json", {
            "metadata": {"total_size": sum(v.numel() * 2 for v in weights.values())}, "weight_map": where})
    else:
        write_tensors(folder / "unet" / "diffusion_pytorch_model.safetensors", weights, dtype)

    write_json(folder / "vae" / "config.json", plain_config(vae, spec.get("vae_keys")))
    weights = vae.state_dict()
    if name == "tiny-sd1":
        weights = {old_vae_names(k): v for k, v in weights.items()}
    write_tensors(folder / "vae" / "diffusion_pytorch_model.safetensors", weights, dtype)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("models", nargs="*", default=list(SPECS))
    args.add_argument("--vae-steps", type=int, default=250)
    args.add_argument("--unet-steps", type=int, default=400)
    args = args.parse_args()
    common.quiet()
    from transformers import CLIPTokenizer
    for name in args.models:
        began = time.time()

        def report(line):
            print(f"{name}: {line} ({time.time() - began:.0f} s)", flush=True)
        spec = SPECS[name]
        folder = MODELS / name
        shutil.rmtree(folder, ignore_errors=True)
        vocab = train_tokenizer(folder / "tokenizer", spec["vocab"], spec["pad"])
        assert len(vocab) == spec["vocab"], (len(vocab), spec["vocab"])
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        text, unet, vae = build(spec, seed=list(SPECS).index(name) * 100 + 7)
        report(", ".join(f"{n} {sum(p.numel() for p in m.parameters())}"
                         for n, m in (("text", text), ("unet", unet), ("vae", vae))))
        round_to(text, spec["dtype"])
        train_vae(spec, vae, args.vae_steps, report)
        round_to(vae, spec["dtype"])
        train_unet(spec, text, tokenizer, unet, vae, args.unet_steps, report)
        round_to(unet, spec["dtype"])
        save(folder, name, spec, text, unet, vae)
        report(f"{common.size_of(folder)} bytes")


if __name__ == "__main__":
    main()
