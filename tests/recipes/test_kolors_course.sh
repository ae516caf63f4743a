#!/bin/sh
# The Kolors course's whole flow on a tiny Kolors: raw pictures in, reports out. Prints as cmocka does.
cd "$(dirname "$0")/../.." || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
# claim NAME COMMAND...: the command must succeed
claim() {
    name=$1
    shift
    if "$@" >"$scratch/out" 2>&1; then
        echo "[       OK ] $name"
    else
        tail -n 30 "$scratch/out"
        echo "[  FAILED  ] $name"
        status=1
    fi
}

# Four photographs with captions, and what a collection brings along: a copy of one, a broken file, a thumbnail, a text.
raw=$scratch/raw out=$scratch/course
mkdir "$raw"
cp tests/data/measure/*.png tests/data/similarity/cat.png "$raw"
cp tests/data/similarity/jpeg.png "$raw/cat-again.png"
head -c 9000 tests/data/measure/coffee.png >"$raw/broken.png"
cp tests/data/emoji-mini/ring-egg.png "$raw/thumbnail.png"
echo "no picture" >"$raw/notes.md"
for picture in "$raw"/*.png; do
    echo "二次元，$(basename "$picture" .png)" >"${picture%.png}.txt"
done

course() {
    THREADS=1 SIZE=64 STEPS=3 DRAW_STEPS=2 LIMN=${LIMN_BUILD:-build}/limn \
        recipes/kolors-course/run.sh "$raw" tests/data/models/tiny-kolors "$out"
}
reason() { grep -q "\"file_name\":\"$1\".*\"excluded\":\"$2\"" "$out/data/lora_dataset/metadata.jsonl"; }
reasons_are_told() {
    reason broken.png broken && reason thumbnail.png 'too small' && reason cat-again.png 'near duplicate' &&
        [ "$(grep -c '"excluded"' "$out/data/lora_dataset/metadata.jsonl")" = 3 ]
}
list_is_the_course_s() {
    list=$out/data/lora_dataset_processed/train/metadata.csv
    cat "$list"
    [ "$(head -n 1 "$list" | tr -d '\r')" = file_name,text ] && [ "$(wc -l <"$list")" = 5 ] && grep -q '二次元，rocket' "$list"
}
checkpoint=$out/models/lightning_logs/version_0/checkpoints/epoch=0-step=3.ckpt
pictures_are_drawn() {
    ls "$out/images"
    [ "$(find "$out/images" -name '*.png' | wc -l)" = "$(wc -l <recipes/kolors-course/prompts.txt)" ]
}
# A page with so many pictures in it at least.
page_has() {
    count=$(grep -o 'src="data:image/png;base64,' "$out/$1" | wc -l)
    echo "$1: $count pictures"
    [ "$count" -ge "$2" ]
}
second_run_takes_what_is_there() {
    before=$(sha256sum "$checkpoint")
    course && [ "$before" = "$(sha256sum "$checkpoint")" ] && [ ! -e "$out/models/lightning_logs/version_1" ] && reasons_are_told
}

claim the_course_runs_from_pictures_to_reports course
claim what_stays_out_has_its_reason reasons_are_told
claim the_trainer_s_list_is_the_course_s list_is_the_course_s
claim the_checkpoint_is_where_the_course_looks_for_it test -s "$checkpoint"
claim a_picture_is_drawn_for_each_line pictures_are_drawn
claim the_cleaning_is_shown page_has clean.html 3
claim what_was_drawn_is_held_against_what_was_taught page_has leak.html 8
claim before_and_after_are_shown_side_by_side page_has report.html 24
claim the_same_command_takes_what_is_there second_run_takes_what_is_there
exit $status
