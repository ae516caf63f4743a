#!/bin/sh
# The Kolors LoRA course from raw pictures to reports: recipes/kolors-course/run.sh PICTURES KOLORS OUTPUT
#   PICTURES  what limn dataset import reads: a folder with captions in .txt files or a list, a zip file, ...
#   KOLORS    a folder in diffusers' layout: unet/, text_encoder/, vae/, ...
#   OUTPUT    gets data/, models/, images/, clean.html, leak.html, report.html
# What can be set: SIZE (1024), STEPS (500, of an epoch), EPOCHS (1), DRAW_STEPS (50), VAE (a file; KOLORS' own), SIMILAR (bits
# by which near duplicates differ: 6), PROMPTS (prompts.txt beside this script), STRENGTH (8), THREADS (all), LIMN (build/limn).
# The same command goes on after a stop: what is done is not done again, only a training begins anew.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
pictures=$1 kolors=$2 out=$3
limn=${LIMN:-build/limn}
size=${SIZE:-1024} steps=${STEPS:-500} epochs=${EPOCHS:-1} prompts=${PROMPTS:-$here/prompts.txt}
vae=${VAE:-$kolors/vae/diffusion_pytorch_model.safetensors}
threads=${THREADS:+--threads $THREADS}
raw=$out/data/lora_dataset data=$out/data/lora_dataset_processed
say() { printf '\n== %s\n' "$1"; }

say "pictures and their captions"
"$limn" dataset import "$pictures" --output "$raw"

say "what is broken, too small, too long, blurred or there twice stays out"
# shellcheck disable=SC2086
"$limn" dataset clean "$raw" --apply --min-side "$size" --longest 2 --near "${SIMILAR:-6}" --html "$out/clean.html" $threads

say "the layout that the course's trainer reads"
"$limn" dataset export "$raw" --layout diffsynth --output "$data"

say "the training, by the course's own command line"
checkpoint=$out/models/lightning_logs/version_0/checkpoints/epoch=$((epochs - 1))-step=$((epochs * steps)).ckpt
# shellcheck disable=SC2086
[ -f "$checkpoint" ] || "$limn" train lora \
    --pretrained_unet_path "$kolors/unet/diffusion_pytorch_model.safetensors" \
    --pretrained_text_encoder_path "$kolors/text_encoder" \
    --pretrained_fp16_vae_path "$vae" \
    --lora_rank 16 --lora_alpha 4.0 \
    --dataset_path "$data" --output_path "$out/models" \
    --max_epochs "$epochs" --steps_per_epoch "$steps" --height "$size" --width "$size" \
    --center_crop --use_gradient_checkpointing --precision "16-mixed" $threads

say "pictures with the LoRA and without it, of the same noise"
# The course loads its LoRA at 2 B A, with no division by the rank: 8 times alpha / rank = 4 / 16.
mkdir -p "$out/images"
# shellcheck disable=SC2086
"$limn" generate --model "$kolors" --vae "$vae" --lora "$checkpoint:${STRENGTH:-8}" --lora-alpha 4 --prompts "$prompts" \
    --negative "丑陋，变形，模糊，低对比度" --steps "${DRAW_STEPS:-50}" --cfg 4 --width "$size" --height "$size" --seed 0 \
    --output "$out/images" $threads

say "does it repeat pictures that it was taught?"
# shellcheck disable=SC2086
"$limn" eval leak "$out/images" --dataset "$data/train" --html "$out/leak.html" $threads

say "before and after, and how near the look is to the pictures'"
# shellcheck disable=SC2086
"$limn" eval sweep --model "$kolors" --lora "$checkpoint" --strengths "0,1,${STRENGTH:-8}" --prompts "$prompts" --count 1 \
    --style "$data/train" --unrelated none --steps "${DRAW_STEPS:-50}" --cfg 4 --size "$size" \
    --html "$out/report.html" $threads
echo
echo "reports: $out/clean.html $out/leak.html $out/report.html"
