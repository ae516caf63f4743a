"""Trains LoRAs with limn on tiny models and lets diffusers draw with them: the picture must be limn's own.

    check_train_lora.py LIMN [SCRATCH [KIND ...]]
diffusers 0.42.1 drops the magnitudes of kohya's DoRA files without a word; PEFT's it reads.
Prints a line for each model, kind and layout: PSNR of diffusers' picture with the LoRA against limn's, and against limn's without
it, which must be far away."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import common
from common import MODELS, TESTS

import numpy as np
import torch
from PIL import Image

PROMPT, STEPS, SEED = "a red circle on a blue ground", 6, 5
KINDS = {
    "attention": [],
    "all": ["--lora-targets", "all", "--lora-rank", "3", "--lora-alpha", "1.5"],
    "dora": ["--dora", "--lora-rank", "2"],
    "text": ["--text-learning-rate", "1e-2"],
}


def limn(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(" ".join(map(str, words)) + "\n" + done.stderr)


def psnr(a, b):
    d = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return math.inf if d == 0 else 10 * math.log10(255 ** 2 / d)


def pipe_of(model):
    from diffusers import DiffusionPipeline
    extra = {} if model != "tiny-sd1" else {"safety_checker": None}
    pipe = DiffusionPipeline.from_pretrained(str(MODELS / model), torch_dtype=torch.float32, **extra)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def diffusers_picture(model, lora):
    pipe = pipe_of(model)
    pipe.load_lora_weights(str(lora.parent), weight_name=lora.name)
    return np.array(pipe(PROMPT, num_inference_steps=STEPS, guidance_scale=4.0, width=64, height=64,
                         generator=torch.Generator().manual_seed(SEED)).images[0])


def main():
    program = sys.argv[1]
    scratch = Path(sys.argv[2] if len(sys.argv) > 2 else "/tmp/check_train_lora")
    common.quiet()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    bad = 0
    for model in ("tiny-sd1", "tiny-sd2", "tiny-sdxl"):
        draw = [program, "generate", "-q", PROMPT, "-m", MODELS / model, "--steps", STEPS, "--cfg", 4, "--seed", SEED, "--width", 64,
                "--height", 64, "--precision", "f32"]
        limn(*draw, "-o", scratch / f"{model}.png")
        plain = np.array(Image.open(scratch / f"{model}.png"))
        for kind, words in KINDS.items():
            if len(sys.argv) > 3 and kind not in sys.argv[3:]:
                continue
            for layout in ("kohya", "peft"):
                out = scratch / f"{model}-{kind}-{layout}"
                limn(program, "train", "lora", "-q", "-m", MODELS / model, "-d", TESTS / "data" / "emoji-mini", "-o", out, "--resolution",
                     64, "--steps", 12, "--learning-rate", "1e-2", "--precision", "f32", "--lora-format", layout, *words)
                limn(*draw, "-o", out / "ours.png", "--lora", out / "lora.safetensors")
                ours = np.array(Image.open(out / "ours.png"))
                try:
                    same = psnr(diffusers_picture(model, out / "lora.safetensors"), ours)
                except Exception as error:
                    print(f"{model:10} {kind:10} {layout:6} diffusers does not load it: {str(error)[:300]}")
                    bad += 1
                    continue
                far = psnr(plain, ours)
                print(f"{model:10} {kind:10} {layout:6} {same:6.1f} dB with diffusers, {far:5.1f} dB without the LoRA", flush=True)
                bad += (same < 45 and (kind, layout) != ("dora", "kohya")) or far > 50
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
