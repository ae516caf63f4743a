#!/bin/sh
# Fuzzes one target (targets.h), or all one after the other, with libFuzzer and the sanitizers:
#     tests/fuzz/run.sh safetensors|all [seconds each]
# The program is built once for all targets; what the readers do not reach comes from the libraries of an ordinary build (make
# first; BUILD=build), without sanitizers. New inputs go to build-fuzz/<target>/found, crashes to build-fuzz/<target>; the committed
# seeds are read only.
set -eu
cd "$(dirname "$0")/../.."
targets=$1 seconds=${2:-60} out=build-fuzz fuzz=build-fuzz/fuzz build=${BUILD:-build}
[ "$targets" != all ] || targets=$(ls tests/fuzz/corpus)
packages="glib-2.0 jansson zlib vips chafa yaml-0.1 sqlite3 libpq libcurl openssl"
# shellcheck disable=SC2046,SC2086
flags="-g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -Isrc -Itests -I$out"
flags="$flags $(pkg-config --cflags $packages | tr '\n' ' ')"
mkdir -p "$out"
# clang's OpenMP is another package; a fuzzed reader has one thread
printf 'static inline int omp_get_max_threads(void) { return 1; }\nstatic inline int omp_get_thread_num(void) { return 0; }\n' >"$out/omp.h.new"
cmp -s "$out/omp.h.new" "$out/omp.h" || mv "$out/omp.h.new" "$out/omp.h"
objects=
for source in tests/fuzz/fuzz.c src/base/*.c src/tensor/*.c src/weights/*.c src/image/*.c src/dataset/*.c src/tokenizer/*.c \
    src/tokenizer/sentencepiece.cc src/generate/prompt.c src/model/text/*.c src/model/lora/*.c src/model/places/*.c \
    src/model/family/*.c src/sampler/*.c src/flow/*.c src/serve/guard.c src/serve/multipart.c src/serve/paths.c src/serve/range.c \
    src/jobs/told*.c src/store/gallery_words.c; do
    object=$out/$(echo "$source" | tr / _).o
    objects="$objects $object"
    [ ! -f "$object" ] || [ -n "$(find "$source" src tests -newer "$object" \( -name '*.h' -o -path "$source" \) -print -quit)" ] || continue
    case $source in
    *.cc) clang++ -std=c++17 $flags -c "$source" -o "$object" ;;
    *) clang -std=gnu17 $flags -c "$source" -o "$object" ;;
    esac
done
clang++ -fsanitize=fuzzer,address,undefined $objects -Wl,--start-group $build/lib*.a -Wl,--end-group -o "$fuzz" \
    $(pkg-config --libs $packages) -lsentencepiece -ldnnl -lcivetweb -lgomp -lm
failed=
for target in $targets; do
    mkdir -p "$out/$target/found"
    FUZZ_TARGET=$target "$fuzz" -max_total_time="$seconds" -max_len=20000 -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$out/$target/" \
        "$out/$target/found" "tests/fuzz/corpus/$target" || failed="$failed $target"
done
[ -z "$failed" ] || { echo "found something:$failed"; exit 1; }
