"""Makes the training references: tests/data/models/tiny-train (f32) and tests/data/expected/tiny-train.{safetensors,json}.

Losses, gradients of every tensor and the weights after three AdamW steps on one batch, for (1) UNet and text encoder
trained jointly, (2) the VAE. Computed in f64 and rounded to f32; the JSON says how far PyTorch's own f32 is from that, and
names the tensors whose Adam update f32 cannot agree on (gradient zero but for rounding, such as a key's bias).
The exact losses are in the JSON, and in unet_loss() and vae_loss() below."""

import copy
import shutil

import common
from common import EXPECTED, MODELS, digest, liven, picture, train_tokenizer, write_json, write_tensors, zero_snr_alphas
from make_models import BETAS, plain_config

import torch

VOCAB = 530
ADAM = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
KL_WEIGHT = 0.05
GAMMA = 5.0


def build():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel
    torch.manual_seed(31)
    g = torch.Generator().manual_seed(32)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=VOCAB, hidden_size=24, intermediate_size=52, num_attention_heads=2, num_hidden_layers=2,
        hidden_act="gelu", max_position_embeddings=77, bos_token_id=VOCAB - 2, eos_token_id=VOCAB - 1,
        pad_token_id=VOCAB - 1, projection_dim=24))
    with torch.no_grad():
        text.get_input_embeddings().weight.mul_(20)
    liven(text, g, peak=3.0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=6, out_channels=6, block_out_channels=[10, 15],
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        layers_per_block=1, attention_head_dim=[2, 3], cross_attention_dim=24, use_linear_projection=True,
        norm_num_groups=5)
    liven(unet, g, peak=2.0)
    vae = AutoencoderKL(
        block_out_channels=[6, 9, 12], down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3, latent_channels=6, layers_per_block=1, norm_num_groups=3,
        sample_size=32, scaling_factor=1.0)
    liven(vae, g, peak=2.0)
    return text.eval(), unet.eval(), vae.eval()


def save(text, unet, vae):
    folder = MODELS / "tiny-train"
    shutil.rmtree(folder, ignore_errors=True)
    train_tokenizer(folder / "tokenizer", VOCAB, "<|endoftext|>")
    write_json(folder / "model_index.json", {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "feature_extractor": [None, None],
        "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]})
    for part in ("scheduler", "text_encoder", "unet", "vae"):
        (folder / part).mkdir(parents=True)
    write_json(folder / "scheduler" / "scheduler_config.json", {
        "_class_name": "DDIMScheduler", "_diffusers_version": "0.42.1", **BETAS, "clip_sample": False,
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "set_alpha_to_one": True, "steps_offset": 1,
        "timestep_spacing": "trailing"})
    t = text.config
    write_json(folder / "text_encoder" / "config.json", {
        "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": t.bos_token_id,
        "eos_token_id": t.eos_token_id, "hidden_act": t.hidden_act, "hidden_size": t.hidden_size,
        "intermediate_size": t.intermediate_size, "layer_norm_eps": t.layer_norm_eps,
        "max_position_embeddings": t.max_position_embeddings, "model_type": "clip_text_model",
        "num_attention_heads": t.num_attention_heads, "num_hidden_layers": t.num_hidden_layers,
        "pad_token_id": t.pad_token_id, "projection_dim": t.projection_dim, "torch_dtype": "float32",
        "vocab_size": t.vocab_size})
    write_tensors(folder / "text_encoder" / "model.safetensors", named_weights(text, "text_model."))
    for part, m in (("unet", unet), ("vae", vae)):
        write_json(folder / part / "config.json", plain_config(m))
        write_tensors(folder / part / "diffusion_pytorch_model.safetensors", named_weights(m))
    return folder


def named_weights(module, prefix=""):
    return {prefix + k.removeprefix("text_model."): p for k, p in module.named_parameters()}


def unet_loss(unet, text, b):
    """v-prediction with min-SNR weights: mean over the batch of weight * mean((v' - v)^2)."""
    kind = unet.dtype
    a = b["alpha"].to(kind).view(-1, 1, 1, 1)
    s = b["sigma"].to(kind).view(-1, 1, 1, 1)
    x, n = b["latents"].to(kind), b["noise"].to(kind)
    out = unet(a * x + s * n, b["timesteps"], text(b["ids"]).last_hidden_state).sample
    each = ((out - (a * n - s * x)) ** 2).mean(dim=(1, 2, 3))
    return (b["weights"].to(kind) * each).mean()


def vae_loss(vae, b):
    """mean |decoded - picture| + KL_WEIGHT * KL, the KL a mean over batch, channels and positions."""
    x = b["picture"].to(vae.dtype)
    mean, logvar = vae.encode(x).latent_dist.parameters.chunk(2, 1)
    logvar = logvar.clamp(-30, 20)
    kl = 0.5 * (mean ** 2 + logvar.exp() - 1 - logvar).mean()
    out = vae.decode(mean + (0.5 * logvar).exp() * b["eps"].to(vae.dtype)).sample
    return (out - x).abs().mean() + KL_WEIGHT * kl


def three_steps(modules, loss_of):
    """modules: {part: module}. Gives losses (before each step and after the last), first gradients, weights after."""
    modules = {k: copy.deepcopy(m) for k, m in modules.items()}
    params = {f"{k}.{n}": p for k, m in modules.items()
              for n, p in named_weights(m, "text_model." if k == "text_encoder" else "").items()}
    opt = torch.optim.AdamW(params.values(), lr=ADAM["lr"], betas=ADAM["betas"], eps=ADAM["eps"],
                            weight_decay=ADAM["weight_decay"])
    losses, first = [], {}
    for step in range(4):
        opt.zero_grad()
        loss = loss_of(modules)
        losses.append(loss.item())
        if step < 3:
            loss.backward()
            first = first or {k: (p.grad if p.grad is not None else torch.zeros_like(p)).clone() for k, p in params.items()}
            opt.step()
    return losses, first, {k: p.detach().clone() for k, p in params.items()}


def reference(kind, modules, loss_of, out):
    wide = {k: copy.deepcopy(m).double() for k, m in modules.items()}
    losses, grads, after = three_steps(wide, loss_of)
    losses32, grads32, after32 = three_steps(modules, loss_of)
    for k in grads:
        out[f"{kind}.grad.{k}"] = digest(grads[k])
        out[f"{kind}.after.{k}"] = digest(after[k])
    whole = torch.cat([g.flatten() for g in grads.values()]).norm().item()
    worst = max(((grads[k] - grads32[k]).norm() / (grads[k].norm() + 1e-3 * whole)).item() for k in grads)
    zero = sorted(k for k in grads if grads[k].norm() < 1e-9 * whole)
    drift = {k: (after[k] - after32[k]).abs().max().item() for k in after}
    unstable = sorted(k for k, d in drift.items() if d > 2e-5)
    print(f"{kind}: losses {losses}, |grad| {whole:.4f}, worst f32 gradient {worst:.1e}, zero {len(zero)}, unstable {unstable}, "
          f"else {max(d for k, d in drift.items() if k not in unstable):.1e}")
    return {"losses": losses, "losses_f32": losses32, "grad_norm": whole, "worst_f32_gradient": worst,
            "zero_gradients": zero,
            "unstable_after": unstable, "worst_f32_after_else": max(d for k, d in drift.items() if k not in unstable)}


def main():
    common.quiet()
    from transformers import CLIPTokenizer
    text, unet, vae = build()
    folder = save(text, unet, vae)
    tok = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    g = torch.Generator().manual_seed(33)
    words = ["a red circle on a blue ground", "", "绿色背景上的黄条纹"]
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    bar = zero_snr_alphas(betas)
    steps = torch.tensor([981, 500, 17])
    snr = bar[steps] / (1 - bar[steps])
    out = {
        "unet.ids": tok(words, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids,
        "unet.latents": torch.randn(3, 6, 8, 6, generator=g), "unet.noise": torch.randn(3, 6, 8, 6, generator=g),
        "unet.timesteps": steps, "unet.alpha": bar[steps].sqrt().float(), "unet.sigma": (1 - bar[steps]).sqrt().float(),
        "unet.weights": (snr.clamp(max=GAMMA) / (snr + 1)).float(),
        "vae.picture": torch.stack([picture("red", "cat", "white", 24, 32), picture("blue", "wave", "yellow", 24, 32)]),
        "vae.eps": torch.randn(2, 6, 6, 8, generator=g),
    }
    batch = {k.split(".", 1)[1]: v for k, v in out.items()}
    info = {"model": "tiny-train", "adamw": ADAM, "worst_f32_gradient": "largest |g32 - g| / (|g| + 0.001 grad_norm), L2 norms a tensor",
            "unstable_after": "weights after three steps that PyTorch's f32 misses by more than 2e-5", "digest": (common.digest.__doc__ or "").strip()}
    info["unet"] = {
        "prompts": words, "min_snr_gamma": GAMMA,
        "definition": "x_t = alpha x + sigma noise; target v = alpha noise - sigma x; alpha^2 = alphas_cumprod rescaled to "
                      "zero terminal SNR in f64; weight = min(snr, gamma) / (snr + 1), snr = alpha^2 / sigma^2; loss = "
                      "mean over the batch of weight * mean over elements of (unet - v)^2; states = text encoder's last "
                      "hidden state after the final norm; AdamW over UNet and text encoder together",
        **reference("unet", {"unet": unet, "text_encoder": text},
                    lambda m: unet_loss(m["unet"], m["text_encoder"], batch), out)}
    info["vae"] = {
        "kl_weight": KL_WEIGHT,
        "definition": "mean, logvar = halves of the encoder's moments, logvar clamped to -30..20; z = mean + exp(logvar / 2) "
                      "eps; loss = mean |decode(z) - picture| + kl_weight * mean over batch, channels and positions of "
                      "(mean^2 + exp(logvar) - 1 - logvar) / 2",
        **reference("vae", {"vae": vae}, lambda m: vae_loss(m["vae"], batch), out)}
    write_tensors(EXPECTED / "tiny-train.safetensors", out)
    write_json(EXPECTED / "tiny-train.json", info)
    print(common.size_of(folder), "bytes of model,", (EXPECTED / "tiny-train.safetensors").stat().st_size, "of values")


if __name__ == "__main__":
    main()
