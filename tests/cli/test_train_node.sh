#!/bin/sh
# The node that runs a whole training: it plans, is stopped with a checkpoint, goes on from there, and leaves its LoRA for loaders.
set -u
cd "$(dirname "$0")/../.."
limn=$(cd "${LIMN_BUILD:-build}" && pwd)/limn
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir -p "$place/in/pictures"
cp tests/data/emoji-mini/*.png tests/data/emoji-mini/metadata.jsonl "$place/in/pictures/"
mkdir -p "$place/models/diffusers"
cp -R tests/data/models/tiny-sd1 "$place/models/diffusers/tiny"
cat >"$place/flow.json" <<'FLOW'
{"1": {"class_type": "TrainLoraRun", "inputs": {"name": "style", "model": "tiny", "folder": "pictures", "steps": 300, "learning_rate": 0.001,
    "rank": 4, "plan": false, "sample_prompts": "", "sample_every": 100, "save_every": 5, "batch": 1, "resolution": 64, "targets": "attention",
    "text_learning_rate": 0, "recompute": false}}}
FLOW
printf 'a:\n  base_path: %s/models\n  diffusers: diffusers\n' "$place" >"$place/paths.yaml"

claim="a training is a node: planned, stopped, gone on with, and its LoRA is found"
fail() {
    echo "$1"
    cat "$place/said" 2>/dev/null
    echo "[  FAILED  ] $claim"
    exit 1
}
run() { # takes the shell's place, so that a signal reaches the program
    exec "$limn" run -q "$place/flow.json" --extra-model-paths "$place/paths.yaml" --input "$place/in" --output "$place/out" "$@" >"$place/said" 2>&1
}

(run --set 1.plan=true) || fail "the plan failed"
[ ! -e "$place/out/runs/style/checkpoint.safetensors" ] || fail "a plan trained"
grep -q 'weights' "$place/out/runs/style-plan.log" || fail "the plan tells no memory"
run &
process=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    [ -e "$place/out/runs/style/checkpoint.safetensors" ] && break
    sleep 0.1
done
kill -TERM "$process"
wait "$process" && fail "it ended as if nobody had stopped it"
pgrep -f "$place/out/runs/style" >/dev/null && fail "the training goes on without its node"
[ -e "$place/out/runs/style/checkpoint.safetensors" ] || fail "it was stopped without a checkpoint"
(run) || fail "it did not go on"
[ -s "$place/out/loras/style.safetensors" ] || fail "no LoRA in output/loras"
tail -n 1 "$place/out/runs/style/metrics.jsonl" | grep -q '"step":300' || fail "it did not reach its last step"
echo "[       OK ] $claim"
