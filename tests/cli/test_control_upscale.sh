#!/bin/sh
# A ControlNet in `limn generate`, its record in the picture, and the flow in that record; then a network that makes the picture larger.
set -u
cd "$(dirname "$0")/../.."
limn=$(cd "${LIMN_BUILD:-build}" && pwd)/limn
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir -p "$place/in" "$place/models/diffusers" "$place/models/controlnet/edges" "$place/models/upscale_models"
cp -R tests/data/models/tiny-sd1 "$place/models/diffusers/tiny"
cp tests/data/control/sd1/config.json "$place/models/controlnet/edges/"
cp tests/data/control/sd1/diffusion_pytorch_model.safetensors "$place/models/controlnet/edges/edges.safetensors"
cp tests/data/upscale/x2.pth "$place/models/upscale_models/twice.pth"
cp tests/data/emoji-mini/solid-ball.png "$place/in/ball.png"
printf 'a:\n  base_path: %s/models\n  diffusers: diffusers\n  controlnet: controlnet\n  upscale_models: upscale_models\n' "$place" >"$place/paths.yaml"
claim="a picture is drawn with a ControlNet, and its record's flow draws it again"
fail() {
    echo "$1"
    cat "$place/said" 2>/dev/null
    echo "[  FAILED  ] $claim"
    exit 1
}
draw() { # OUTPUT OPTIONS...
    output=$1
    shift
    "$limn" generate -q "a red ball" --model tiny --extra-model-paths "$place/paths.yaml" --steps 3 --seed 5 --sampler euler --precision f32 \
        -o "$place/$output" "$@" >"$place/said" 2>&1
}
draw plain.png || fail "no picture"
draw drawn.png --json --control "edges=$place/in/ball.png:0.8:0:0.7" || fail "no picture with a ControlNet"
grep -q '"controls":\[{"path":.*edges.safetensors","image":"ball.png","strength":0.8,"start":0.0,"end":0.7}\]' "$place/said" || fail "the facts do not name it"
"$limn" run -q "$place/drawn.png" --extra-model-paths "$place/paths.yaml" --input "$place/in" --output "$place/out" --precision f32 >"$place/said" 2>&1 ||
    fail "the record is no flow that runs"
"$limn" eval images -q --json --metrics psnr "$place/drawn.png" "$place/out/limn_00001_.png" >"$place/said" 2>&1
grep -q 'Infinity\|inf' "$place/said" || fail "the record's flow draws another picture"
"$limn" eval images -q --json --metrics psnr "$place/drawn.png" "$place/plain.png" >"$place/said" 2>&1
grep -q 'Infinity\|inf' "$place/said" && fail "the ControlNet says nothing"
draw wrong.png --control "edges=$place/in/ball.png:0.8:0.5" && fail "two numbers were taken"
grep -q 'want a strength' "$place/said" || fail "the error does not say what is wrong"
draw wrong.png --control "none=$place/in/ball.png" && fail "a ControlNet that is nowhere was taken"
grep -q 'controlnet' "$place/said" || fail "the error does not say where it looked"
echo "[       OK ] $claim"

claim="a picture becomes larger, on the command line and in a flow"
cp "$place/drawn.png" "$place/in/small.png" # without transparency, which the command lays over white
"$limn" upscale -q "$place/in/small.png" --model twice --extra-model-paths "$place/paths.yaml" --precision f32 >"$place/said" 2>&1 || fail "it failed"
name=$(cat "$place/said")
[ -s "$name" ] || fail "no picture at $name"
cat >"$place/flow.json" <<'FLOW'
{"1": {"class_type": "LoadImage", "inputs": {"image": "small.png"}},
 "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "twice.pth"}},
 "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
 "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "large"}}}
FLOW
"$limn" run -q "$place/flow.json" --extra-model-paths "$place/paths.yaml" --input "$place/in" --output "$place/out" --precision f32 >"$place/said" 2>&1 ||
    fail "the flow failed"
"$limn" eval images -q --json --metrics psnr "$name" "$place/out/large_00001_.png" >"$place/said" 2>&1 || fail "pictures of two sizes"
grep -q '"psnr":[ ]*\(4[5-9]\|[5-9][0-9]\|[0-9][0-9][0-9]\|Inf\|inf\)\|inf' "$place/said" || fail "two pictures"
"$limn" upscale -q "$place/in/small.png" --model tiny.pth --extra-model-paths "$place/paths.yaml" >"$place/said" 2>&1 && fail "a model that is nowhere was taken"
echo "[       OK ] $claim"
