#!/bin/sh
# Builds all tests and runs them: tests/run.sh BUILD [WORD]: with WORD only programs whose names hold it.
# A program is tests/<room>/test_<what>.c (cmocka) or tests/<room>/test_<what>.sh, which prints the same lines:
#     [       OK ] claim     [  FAILED  ] claim     [  SKIPPED ] claim
# The last line is "N passed, N failed", then ", N skipped" if any were. Exit status 1 if one failed or none ran.
# JOBS: compilers at a time. TEST_SECONDS: limit for one program. CHECK=1: the build has sanitizers.
set -u
cd "$(dirname "$0")/.."
build=$1 word=${2:-} limit=${TEST_SECONDS:-600}
if [ -n "${CHECK:-}" ]; then
    limit=${TEST_SECONDS:-1800}
    export LIMN_TEST_EVERY=1
    export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1:${ASAN_OPTIONS:-}"
    export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:${UBSAN_OPTIONS:-}"
    export LSAN_OPTIONS="suppressions=$PWD/tests/leaks.txt:print_suppressions=0:${LSAN_OPTIONS:-}"
fi
export LIMN_BUILD="$build"
# Threads that wait shall sleep: where other programs want the processor, spinning makes small tests a hundred times slower.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-1000}"
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
passed=0 failed=0 skipped=0

# Path to name as meson.build makes it: tests/base/test_text.c is base_test_text.
programs=$(find tests -name 'test_*.c' ! -name test_main.c | LC_ALL=C sort | sed 's|^tests/||; s|/|_|g; s|\.c$||' | grep -F -e "$word")
scripts=$(find tests -name 'test_*.sh' | LC_ALL=C sort | grep -F -e "$word")

# The list of what is compiled is in the way unless the build fails.
# shellcheck disable=SC2086
if ! ninja -C "$build" -j "${JOBS:-$(nproc)}" -k 0 limn $programs >"$log/build" 2>&1; then
    grep -v '^\[[0-9]*/[0-9]*\] ' "$log/build" | head -100
    echo "FAILED: the build"
    failed=1
elif grep -q 'warning:' "$log/build"; then
    grep -A 6 'warning:' "$log/build" | head -60
fi

# run NAME COMMAND...: counts what it says.
run() {
    name=$1
    shift
    begin=$(date +%s)
    timeout -k 10 "$limit" "$@" >"$log/out" 2>&1
    status=$?
    took=$(($(date +%s) - begin))
    ok=$(grep -c '^\[       OK \]' "$log/out")
    no=$(grep '^\[  FAILED  \]' "$log/out" | grep -v '^\[  FAILED  \] [0-9]* test(s)' | sort -u | wc -l)
    idle=$(grep '^\[  SKIPPED \]' "$log/out" | grep -v '^\[  SKIPPED \] [0-9]* test(s)' | sort -u | wc -l)
    why=
    if [ "$status" = 124 ] || [ "$status" = 137 ]; then
        why="took more than $limit s"
    elif [ "$status" -gt 128 ]; then
        why="ended by signal $((status - 128))"
    elif [ "$status" != 0 ] && [ "$no" = 0 ]; then
        why="exit status $status though no test failed"
    elif [ "$((ok + no + idle))" = 0 ]; then
        why="ran no test"
    fi
    [ -z "$why" ] || no=$((no + 1))
    if [ "$no" -gt 0 ]; then
        echo "FAILED: $name: $no failed, $ok passed${why:+; $why}"
        grep -v -e '^\[       OK \]' -e '^\[==========\]' -e '^\[  PASSED  \]' "$log/out" |
            awk '/^\[ RUN      \]/ { run = $0; next } run && !/^\[/ { print run; run = "" } { print }' | tail -n 80 | sed 's/^/    /'
    else
        printf '%-40s %4s passed %5s s%s\n' "$name" "$ok" "$took" "$([ "$idle" = 0 ] || echo ", $idle skipped")"
    fi
    passed=$((passed + ok)) failed=$((failed + no)) skipped=$((skipped + idle))
}

for name in $programs; do
    if [ -x "$build/$name" ]; then
        run "$name" "$build/$name"
    else
        echo "FAILED: $name: was not built"
        failed=$((failed + 1))
    fi
done
for script in $scripts; do
    run "$script" sh "$script"
done

printf '%s passed, %s failed%s\n' "$passed" "$failed" "$([ "$skipped" = 0 ] || echo ", $skipped skipped")"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
