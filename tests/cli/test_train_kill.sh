#!/bin/sh
# A fine-tuning that is killed again and again, while it encodes and while it learns, and resumed each time, ends in the bits of one
# that nobody touched.
set -u
cd "$(dirname "$0")/../.."
limn=${LIMN_BUILD:-build}/limn
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

run() { # folder, more words; takes the shell's place, so that a kill reaches the program
    out=$1
    shift
    exec "$limn" train lora -q -m tests/data/models/tiny-sdxl -d tests/data/emoji-mini -o "$place/$out" --resolution 64 --batch 1 \
        --steps 24 --save-every 3 --log-every 1 --random-flip --random-crop --caption-dropout 0.1 --noise-offset 0.05 --ema 0.9 \
        --text-learning-rate 1e-4 --learning-rate 1e-3 --lr-schedule cosine --precision f32 --threads 1 "$@"
}

claim="a fine-tuning killed again and again ends in the same bits"
fail() {
    echo "$1"
    echo "[  FAILED  ] $claim"
    exit 1
}

(run whole) || fail "the unbroken run failed"
kills=0
while [ "$kills" -lt 40 ]; do
    run broken --resume &
    process=$!
    sleep "0.$((3 + kills % 5))"
    if ! kill -9 "$process" 2>/dev/null; then
        wait "$process" || fail "a resumed run failed"
        break
    fi
    wait "$process" 2>/dev/null
    kills=$((kills + 1))
done
[ "$kills" -gt 1 ] || fail "it was killed only $kills times: too quick to tell"
(run broken --resume) || fail "the last resume failed"
cmp "$place/whole/lora.safetensors" "$place/broken/lora.safetensors" || fail "the LoRAs differ after $kills kills"
losses() { sed 's/.*"step":\([0-9]*\),"loss":\([^,]*\),.*/\1 \2/' "$place/$1/metrics.jsonl"; }
losses whole >"$place/a"
losses broken >"$place/b"
cmp "$place/a" "$place/b" || fail "the losses differ"
echo "[       OK ] $claim"
