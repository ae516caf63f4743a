"""Draws with diffusers from any model folder and compares with a picture of ours.

    check_folder.py FOLDER --latents start.safetensors --prompt "..." [--png ours.png] [--out diffusers.png] [--final f.st]
Latents are unit noise, NCHW, under the key `latents` (what `limn generate --latents` takes). Prints one JSON line with the
PSNR against --png and, with --final-of, the largest difference of the final latents; fails below --least dB."""

import argparse
import json
import math
import sys

import common

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--prompt", required=True)
    p.add_argument("--negative", default="")
    p.add_argument("--latents", help="start noise; without it --seed, --width and --height make it")
    p.add_argument("--seed", type=int, default=1234)
    p.add_argument("--width", type=int)
    p.add_argument("--height", type=int)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--cfg", type=float, default=7.5)
    p.add_argument("--eta", type=float, default=0.0)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--out", help="diffusers' picture")
    p.add_argument("--final", help="diffusers' final latents, safetensors")
    p.add_argument("--png", help="our picture")
    p.add_argument("--final-of", help="our final latents, safetensors key `latents`")
    p.add_argument("--least", type=float, default=45.0, help="PSNR in dB below which the check fails")
    args = p.parse_args()
    common.quiet()
    torch.set_num_threads(args.threads)
    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(args.folder, torch_dtype=torch.float32, safety_checker=None,
                                                   local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    latents = load_file(args.latents)["latents"].float() if args.latents else None
    height, width = (latents.shape[2] * factor, latents.shape[3] * factor) if latents is not None else (
        args.height, args.width)
    with torch.no_grad():
        final = pipe(args.prompt, negative_prompt=args.negative, num_inference_steps=args.steps, guidance_scale=args.cfg,
                     eta=args.eta, height=height, width=width, latents=latents, output_type="latent",
                     num_images_per_prompt=len(latents) if latents is not None else 1,
                     generator=torch.Generator().manual_seed(args.seed)).images
        decoded = pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample
    pictures = ((decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    if args.out:
        Image.fromarray(pictures[0]).save(args.out)
    if args.final:
        save_file({"latents": final.contiguous()}, args.final)
    facts = {"folder": args.folder, "width": pictures.shape[2], "height": pictures.shape[1],
             "final_std": round(final.std().item(), 4)}
    good = True
    if args.final_of:
        facts["final_difference"] = (load_file(args.final_of)["latents"].float() - final).abs().max().item()
    if args.png:
        ours = np.asarray(Image.open(args.png).convert("RGB")).astype(np.float64)
        if ours.shape != pictures[0].shape:
            sys.exit(f"check_folder: {args.png} is {ours.shape[1]}x{ours.shape[0]}, diffusers gives "
                     f"{pictures.shape[2]}x{pictures.shape[1]}")
        mse = ((ours - pictures[0]) ** 2).mean()
        facts["psnr"] = round(10 * math.log10(255 ** 2 / mse), 2) if mse else "equal"
        good = mse == 0 or facts["psnr"] >= args.least
    print(json.dumps(facts))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
