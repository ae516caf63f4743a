#!/bin/sh
# An import that is killed again and again ends with every picture, whole, one line for each, and nothing else in the folder.
set -u
cd "$(dirname "$0")/../.."
limn=$PWD/${LIMN_BUILD:-build}/limn
case ${LIMN_BUILD:-build} in /*) limn=$LIMN_BUILD/limn ;; esac
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

claim="an import killed again and again ends whole"
fail() {
    echo "$1"
    echo "[  FAILED  ] $claim"
    exit 1
}

mkdir "$place/in"
i=0
while [ "$i" -lt 500 ]; do # pictures that differ: bytes behind a JPEG's end are passed over
    { cat tests/data/pictures/coffee.jpg; echo "$i"; } >"$place/in/$i.jpg"
    i=$((i + 1))
done
kills=0
while [ "$kills" -lt 5 ]; do
    "$limn" dataset import "$place/in" -o "$place/out" -q >/dev/null &
    process=$!
    sleep "0.$((1 + kills))"
    if ! kill -9 "$process" 2>/dev/null; then
        wait "$process" || fail "an import failed"
        break
    fi
    wait "$process" 2>/dev/null
    kills=$((kills + 1))
    [ -z "$(find "$place/out" -name '*.part-*' 2>/dev/null)" ] || fail "left by kill $kills: $(find "$place/out" -name '*.part-*')"
    # the list is whole whenever there is one
    [ ! -e "$place/out/metadata.jsonl" ] || "$limn" dataset info "$place/out" >/dev/null || fail "the list is broken"
done
[ "$kills" -gt 0 ] || fail "it was never killed: too quick to tell"
there=0
[ ! -e "$place/out/metadata.jsonl" ] || there=$(wc -l <"$place/out/metadata.jsonl")
# as a file system without nameless files has them: one of a process that is gone, one of a process that lives
mkdir -p "$place/out" # it may have been killed before that
sh -c 'echo half >"$0/7.jpg.part-$$"' "$place/out"
echo half >"$place/out/8.jpg.part-$$"
"$limn" dataset import "$place/in" -o "$place/out" -q >/dev/null || fail "the last import failed"
(cd "$place/out" && echo ./*.part-*) | grep -qx "./8.jpg.part-$$" || fail "left: $(find "$place/out" -name '*.part-*')"
[ "$(wc -l <"$place/out/metadata.jsonl")" = 500 ] || fail "$(wc -l <"$place/out/metadata.jsonl") lines"
(cd "$place/in" && sha256sum ./*.jpg | sed 's|\./||' | sort) >"$place/wanted"
sed 's|.*"file_name":"\([^"]*\)".*"id":"\([0-9a-f]*\)".*|\2  \1|' "$place/out/metadata.jsonl" | sort >"$place/came"
cmp "$place/wanted" "$place/came" || fail "the ids are not the files'"
(cd "$place/out" && sha256sum --quiet -c "$place/came") || fail "a file is not whole"
echo "[       OK ] $claim ($kills kills; $there of 500 were there before the last run)"
