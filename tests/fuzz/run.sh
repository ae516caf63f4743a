#!/bin/sh
# Fuzzes one target (targets.h) with libFuzzer and the sanitizers: tests/fuzz/run.sh safetensors [seconds]
# New inputs go to build-fuzz/<target>/found, crashes to build-fuzz/<target>; the committed seeds are read only.
set -eu
cd "$(dirname "$0")/../.."
target=$1 seconds=${2:-60} out=build-fuzz/$1
mkdir -p "$out/found"
# clang's OpenMP is another package; a fuzzed reader has one thread
printf 'static inline int omp_get_max_threads(void) { return 1; }\nstatic inline int omp_get_thread_num(void) { return 0; }\n' >"$out/omp.h"
clang++ -std=c++17 -g -O1 -fsanitize=fuzzer-no-link,address -Isrc -c src/tokenizer/sentencepiece.cc -o "$out/sentencepiece.o"
# shellcheck disable=SC2046
clang -std=gnu17 -g -O1 -D_GNU_SOURCE -DTARGET="$target" -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
    -Isrc -Itests -I"$out" $(pkg-config --cflags glib-2.0 jansson zlib vips chafa yaml-0.1) tests/fuzz/fuzz.c src/base/*.c src/tensor/*.c src/weights/*.c src/image/*.c src/dataset/*.c \
    src/tokenizer/*.c src/generate/prompt.c src/model/text/*.c src/graph/*.c src/model/layer/*.c src/model/denoiser/*.c \
    src/model/vae/*.c src/model/lora/*.c src/sampler/*.c src/model/places/*.c src/model/family/*.c \
    src/serve/guard.c src/serve/multipart.c src/serve/paths.c src/serve/range.c src/jobs/told*.c src/store/gallery_words.c \
    "$out/sentencepiece.o" -o "$out/fuzz" \
    $(pkg-config --libs glib-2.0 jansson zlib vips chafa yaml-0.1) -lsentencepiece -lstdc++ -lm
exec "$out/fuzz" -max_total_time="$seconds" -max_len=20000 -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$out/" \
    "$out/found" "tests/fuzz/corpus/$target"
