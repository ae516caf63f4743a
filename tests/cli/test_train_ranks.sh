#!/bin/sh
# Two processes of one training, on this machine's own address: the bits of one process with the same batches a step, and what becomes
# of a run one of whose processes is killed.
set -u
cd "$(dirname "$0")/../.."
limn=${LIMN_BUILD:-build}/limn
same="two processes end in the bits of one with the same batches"
lora="two processes learn the LoRA that one learns, from pictures of several shapes"
uneven="batches that cannot be shared evenly are an error that says what can"
lost="processes of srun that cannot find each other do not train alone in one folder"
dead="a killed process ends the run with an error and a checkpoint that resumes"
if ! command -v mpirun >/dev/null; then
    for claim in "$same" "$lora" "$uneven" "$lost" "$dead"; do
        echo "[  SKIPPED ] $claim (no mpirun: openmpi-bin)"
    done
    exit 0
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
status=0
say() { # "", or what went wrong; then the claim
    if [ -z "$1" ]; then
        echo "[       OK ] $2"
    else
        echo "$1"
        echo "[  FAILED  ] $2"
        status=1
    fi
}
two() {
    mpirun -n 2 --oversubscribe --bind-to none --mca btl self,tcp --mca btl_tcp_if_include lo --mca oob_tcp_if_include lo "$@"
}

mkdir -p "$place/config/vae"
cat >"$place/config/vae/config.json" <<END
{"_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 1,
 "norm_num_groups": 2, "sample_size": 16, "block_out_channels": [4, 8], "act_fn": "silu",
 "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}
END
cat >"$place/vae.toml" <<END
dataset = "tests/data/emoji-mini"
config = "$place/config"
size = 16
batch = 2
accumulate = 2
warmup = 3
log_every = 1
save_every = 1000
validate_every = 8
threads = 1
precision = "f32"
export = "f32"
quiet = true
END
vae() { # processes' starter, folder, more words
    starter=$1 out=$2
    shift 2
    $starter "$limn" train vae --settings "$place/vae.toml" --output "$place/$out" "$@"
}
weights=model/vae/diffusion_pytorch_model.safetensors

vae "" one --steps 16 && vae two both --steps 16
cmp "$place/one/$weights" "$place/both/$weights" >"$place/why" 2>&1
# the lines of both, without what depends on the clock
for run in one both; do
    sed 's/"seconds":[^,]*,//; s/"pictures_per_second":[^,}]*//' "$place/$run/metrics.jsonl" >"$place/$run.lines"
done
cmp "$place/one.lines" "$place/both.lines" >>"$place/why" 2>&1
[ "$(wc -l <"$place/both.lines")" = 16 ] || echo "not 16 lines" >>"$place/why"
say "$(cat "$place/why")" "$same"

# Pictures of two shapes: in a step one process may have a batch of this one, the other of that.
mkdir "$place/set"
for name in cat.png coffee.jpg astronaut.webp; do
    cp "tests/data/pictures/$name" "$place/set/$name"
    echo "{\"file_name\":\"$name\",\"text\":\"a picture\"}" >>"$place/set/metadata.jsonl"
done
lora() {
    starter=$1 out=$2
    shift 2
    $starter "$limn" train lora -q -m tests/data/models/tiny-sdxl -d "$place/set" -o "$place/$out" --resolution 64 --batch 1 \
        --buckets kohya --bucket-min 32 --bucket-step 16 --accumulate 2 --steps 4 --dora --learning-rate 1e-3 --precision f32 --threads 1 --cache "$place/$out-cache"
}
lora "" lora-one && lora two lora-both
say "$(cmp "$place/lora-one/lora.safetensors" "$place/lora-both/lora.safetensors" 2>&1)" "$lora"

vae two uneven --steps 2 --accumulate 3 >"$place/said" 2>&1 && echo "it was taken" >>"$place/said"
say "$(grep -q -- '--accumulate 2' "$place/said" || cat "$place/said")" "$uneven"

why=
for told in SLURM_STEP_NUM_TASKS=2 PMI_RANK=1; do
    vae "env $told" lost --steps 2 >"$place/said" 2>&1
    [ $? = 2 ] && grep -q -- 'srun --mpi=pmix' "$place/said" || why="$why $told: $(cat "$place/said")"
done
vae "env SLURM_STEP_NUM_TASKS=1" alone --steps 2 >"$place/said" 2>&1 || why="$why alone: $(cat "$place/said")"
[ ! -e "$place/lost" ] || why="$why a folder was made"
say "$why" "$lost"

# As one process, unbroken; as two, one of them killed after some steps; then on as one. Through shared memory: over TCP Open MPI ends the
# others at once, and what is left is the checkpoint before.
steps=120
vae "" whole --steps $steps
why=
# shellcheck disable=SC2016
mpirun -n 2 --oversubscribe --bind-to none --mca btl self,vader --mca oob_tcp_if_include lo \
    sh -c 'echo $$ >"$0/pid-$OMPI_COMM_WORLD_RANK"; exec "$@"' "$place" \
    "$limn" train vae --settings "$place/vae.toml" --output "$place/broken" --steps $steps >"$place/said" 2>&1 &
runner=$!
while [ "$(cat "$place/broken/metrics.jsonl" 2>/dev/null | wc -l)" -lt 4 ] && kill -0 "$runner" 2>/dev/null; do
    sleep 0.1
done
kill -9 "$(cat "$place/pid-1")"
wait "$runner" && why="it ended as if nothing had happened"
grep -q 'saved at step [0-9]* of [0-9]*: start it again with --resume' "$place/said" || why="$why no word of what was saved: $(cat "$place/said")"
grep -q 'signal 9' "$place/said" || why="$why no word of the killed process"
[ "$(wc -l <"$place/broken/metrics.jsonl")" -lt $steps ] || why="$why it was over before it was killed"
vae "" broken --steps $steps --resume || why="$why the resumed run failed"
cmp "$place/whole/$weights" "$place/broken/$weights" || why="$why the weights differ"
say "$why" "$dead"
exit $status
