#!/bin/sh
# The nodes that run whole trainings and evaluations: what one makes the next one uses, and loaders find all of it by its name.
set -u
cd "$(dirname "$0")/../.."
limn=$(cd "${LIMN_BUILD:-build}" && pwd)/limn
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir -p "$place/in/pictures" "$place/models/diffusers"
cp tests/data/emoji-mini/*.png tests/data/emoji-mini/metadata.jsonl "$place/in/pictures/"
cp -R tests/data/models/tiny-train "$place/models/diffusers/tiny"
printf 'a:\n  base_path: %s/models\n  diffusers: diffusers\n' "$place" >"$place/paths.yaml"
claim="a place for the tests"
fail() {
    echo "$1"
    cat "$place/said" 2>/dev/null
    echo "[  FAILED  ] $claim"
    exit 1
}
run() {
    "$limn" run -q "$place/$1.json" --extra-model-paths "$place/paths.yaml" --input "$place/in" --output "$place/out" >"$place/said" 2>&1
}

cat >"$place/train.json" <<'FLOW'
{"1": {"class_type": "TrainTokenizerRun", "inputs": {"name": "words", "folder": "pictures", "vocab": 530, "length": 16}},
 "2": {"class_type": "TrainVaeRun", "inputs": {"name": "pixels", "config": "tiny", "folder": "pictures", "from_nothing": true, "steps": 4, "batch": 2,
       "size": 32, "learning_rate": 0.001, "plan": false}},
 "3": {"class_type": "TrainBaseRun", "inputs": {"name": "all", "config": "tiny", "folder": "pictures", "from_nothing": true, "vae": ["2", 0],
       "tokenizer": ["1", 0], "steps": 6, "batch": 2, "size": 32, "learning_rate": 0.001, "plan": false, "sample_prompts": "a ball", "scenes": 8,
       "save_every": 3}}}
FLOW
cat >"$place/draw.json" <<'FLOW'
{"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "all"}},
 "2": {"class_type": "VAELoader", "inputs": {"vae_name": "pixels/diffusion_pytorch_model.safetensors"}},
 "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a ball", "clip": ["1", 1]}},
 "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 1}},
 "5": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 1, "steps": 2, "cfg": 1, "sampler_name": "euler", "scheduler": "normal",
       "positive": ["3", 0], "negative": ["3", 0], "latent_image": ["4", 0], "denoise": 1}},
 "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["2", 0]}},
 "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "drawn"}}}
FLOW
cat >"$place/evaluate.json" <<'FLOW'
{"1": {"class_type": "EvaluateRun", "inputs": {"name": "best", "run": "all", "prompts": "a ball", "count": 1, "seed": 3, "held_out": 2, "steps": 2}},
 "2": {"class_type": "EvaluateModels", "inputs": {"name": "two", "models": "tiny=tiny\nall=all", "folder": "pictures", "prompts": "a ball", "count": 1,
       "seed": 3, "held_out": 2, "steps": 2}},
 "3": {"class_type": "EvaluateImages", "inputs": {"name": "same", "folder1": "pictures [input]", "folder2": "pictures [input]", "metrics": "psnr", "fit": false}},
 "4": {"class_type": "EvaluateLeak", "inputs": {"name": "leak", "drawn": "pictures [input]", "folder": "pictures"}},
 "5": {"class_type": "CompareRuns", "inputs": {"name": "curves", "runs": "pixels\nall"}}}
FLOW
cat >"$place/wrong.json" <<'FLOW'
{"1": {"class_type": "EvaluateRun", "inputs": {"name": "none", "run": "../all", "prompts": "", "count": 1, "seed": 3, "held_out": 2}}}
FLOW

claim="a model is trained from nothing by nodes, and loaders find it"
run train || fail "the training failed"
[ -s "$place/out/diffusers/all/unet/diffusion_pytorch_model.safetensors" ] || fail "no model in output/diffusers"
cmp -s "$place/out/runs/words/vocab.json" "$place/out/diffusers/all/tokenizer/vocab.json" || fail "it was not taught with the run's tokenizer"
cmp -s "$place/out/runs/pixels/model/vae/diffusion_pytorch_model.safetensors" "$place/out/diffusers/all/vae/diffusion_pytorch_model.safetensors" ||
    fail "it was not taught with the run's VAE"
tail -n 1 "$place/out/runs/all/metrics.jsonl" | grep -q '"step":6' || fail "it did not reach its last step"
run draw || fail "the model cannot draw"
[ -s "$place/out/drawn_00001_.png" ] || fail "no picture"
echo "[       OK ] $claim"

claim="evaluations are nodes whose reports are kept"
run evaluate || fail "an evaluation failed"
for name in best two same leak curves; do
    [ -s "$place/out/evaluations/$name.html" ] && [ -s "$place/out/evaluations/$name.csv" ] || fail "no report $name"
done
grep -q '| step 6 |' "$place/out/evaluations/best.md" || fail "the last checkpoint is in no table"
grep -q '| all |' "$place/out/evaluations/two.md" || fail "a model is in no table"
grep -q 'copies: 1[0-9]' "$place/out/evaluations/leak.md" || fail "training pictures are no copies of themselves"
run wrong && fail "a run outside of the folder was taken"
grep -q 'without slashes' "$place/said" || fail "the error does not say what is wrong"
echo "[       OK ] $claim"
