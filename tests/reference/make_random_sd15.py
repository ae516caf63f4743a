"""Writes a model folder of Stable Diffusion 1.5's size with random weights, to measure memory and time with:

    python make_random_sd15.py FOLDER [--dtype bf16|f16|f32]

Weights are scaled like PyTorch's initial ones, so that nothing overflows; pictures are noise. The tokenizer is tiny-sd1's."""

import argparse
import shutil
from pathlib import Path

import common
from common import MODELS, write_json, write_tensors

import torch

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def parts():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12,
            max_position_embeddings=77, hidden_act="quick_gelu"))
        unet = UNet2DConditionModel(
            sample_size=64, block_out_channels=[320, 640, 1280, 1280], cross_attention_dim=768, attention_head_dim=8,
            down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3)
        vae = AutoencoderKL(
            block_out_channels=[128, 256, 512, 512], down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=2, latent_channels=4, sample_size=512)
    return {"text_encoder": text, "unet": unet, "vae": vae}


def random_weights(module, dtype, prefix):
    g = torch.Generator().manual_seed(5)
    out = {}
    for name, p in module.named_parameters():
        if p.dim() == 1:
            value = torch.ones(p.shape) if name.endswith("weight") else torch.zeros(p.shape)
        else:
            value = torch.empty(p.shape).uniform_(-1, 1, generator=g) / p[0].numel() ** 0.5
        out[prefix + name.removeprefix("text_model.")] = value.to(dtype)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("--dtype", choices=DTYPES, default="bf16")
    args = p.parse_args()
    common.quiet()
    args.folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(MODELS / "tiny-sd1" / "tokenizer", args.folder / "tokenizer", dirs_exist_ok=True)
    shutil.copy(MODELS / "tiny-sd1" / "model_index.json", args.folder)
    (args.folder / "scheduler").mkdir(exist_ok=True)
    write_json(args.folder / "scheduler" / "scheduler_config.json", {
        "_class_name": "PNDMScheduler", **BETAS, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1,
        "clip_sample": False})
    for part, module in parts().items():
        folder = args.folder / part
        folder.mkdir(exist_ok=True)
        text = part == "text_encoder"
        config = module.config.to_dict() if text else {k: v for k, v in module.config.items()}
        write_json(folder / "config.json", config)
        write_tensors(folder / ("model.safetensors" if text else "diffusion_pytorch_model.safetensors"),
                      random_weights(module, DTYPES[args.dtype], "text_model." if text else ""))
        print(part, sum(p.numel() for p in module.parameters()), flush=True)


if __name__ == "__main__":
    main()
