#!/bin/sh
# The rules of the house, and that the scripts that watch over them see a mistake. Prints as cmocka does.
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
        cat "$scratch/out"
        echo "[  FAILED  ] $name"
        status=1
    fi
}

# A small tree of sources with one include in it: layered FILE INCLUDED
layered() {
    rm -rf "$scratch/tree"
    mkdir -p "$scratch/tree/$(dirname "$1")"
    echo "#include \"$2\"" >"$scratch/tree/$1"
    tools/check_layers "$scratch/tree"
}
wrong_ways_are_seen() {
    while read -r file included; do
        if layered "$file" "$included"; then
            echo "$file may include $included"
            return 1
        fi
    done <<END
src/base/err.c tensor/tensor.h
src/image/image.c tensor/tensor.h
src/graph/plan.c backend/cpu/cpu.h
src/model/vae/vae.c backend/ref/ref.h
src/backend/cpu/cpu.c model/layer/net.h
src/backend/cpu/cpu.c backend/ref/ref.h
src/generate/draw.c backend/cpu/cpu.h
src/train/trainer.c generate/generate.h
src/generate/draw.c evaluate/report.h
src/train/trainer.c cli/options.h
src/model/vae/vae.c graph/graph_internal.h
src/cli/main.c sampler/sampler_internal.h
src/graph/plan.c plan.h
src/cellar/box.c base/err.h
END
}
right_ways_are_taken() {
    while read -r file included; do
        layered "$file" "$included" || return 1
    done <<END
src/cli/main.c backend/cpu/cpu.h
src/cli/main.c base/err.h
src/backend/cpu/cpu.c graph/graph.h
src/graph/plan.c graph/graph_internal.h
src/train/trainer.c model/layer/net.h
src/evaluate/report.c generate/generate.h
END
}

# ./setup on a machine that says a package is missing and lets nobody install: programs of ours in place of the system's.
poor_machine() {
    mkdir -p "$scratch/bin"
    printf '#!/bin/sh\nsed "s/#.*//" packages.txt | awk "NF && \\$1 != \\"ninja-build\\" { print \\"installed\\", \\$1 }"\n' >"$scratch/bin/dpkg-query"
    printf '#!/bin/sh\necho 1000\n' >"$scratch/bin/id"
    printf '#!/bin/sh\nexit 1\n' >"$scratch/bin/sudo"
    printf '#!/bin/sh\ntouch "%s/made"\n' "$scratch" >"$scratch/bin/make"
    printf '#!/bin/sh\necho "$@" >>"%s/installed"\n' "$scratch" >"$scratch/bin/apt-get"
    chmod +x "$scratch"/bin/*
    rm -f "$scratch/made" "$scratch/installed"
}
setup_says_the_line() {
    poor_machine
    PATH=$scratch/bin:$PATH ./setup test </dev/null >"$scratch/said" 2>&1 && return 1
    [ ! -e "$scratch/made" ] && [ ! -e "$scratch/installed" ] &&
        grep -q '^    apt-get install -y --no-install-recommends ninja-build$' "$scratch/said"
}
setup_installs_as_root() {
    poor_machine
    printf '#!/bin/sh\necho 0\n' >"$scratch/bin/id"
    PATH=$scratch/bin:$PATH ./setup test </dev/null && [ -e "$scratch/made" ] &&
        [ "$(cat "$scratch/installed")" = 'install -y --no-install-recommends ninja-build' ]
}
setup_leaves_a_complete_machine_alone() {
    poor_machine
    printf '#!/bin/sh\nsed "s/#.*//" packages.txt | awk "NF { print \\"installed\\", \\$1 }"\n' >"$scratch/bin/dpkg-query"
    PATH=$scratch/bin:$PATH ./setup test </dev/null && [ -e "$scratch/made" ] && [ ! -e "$scratch/installed" ]
}

claim no_include_points_the_wrong_way tools/check_layers
claim includes_that_point_the_wrong_way_are_seen wrong_ways_are_seen
claim includes_that_point_the_right_way_are_taken right_ways_are_taken
claim each_header_compiles_alone tools/check_headers
claim the_house_is_in_order tools/check_house
claim setup_says_the_exact_line_where_it_may_not_install setup_says_the_line
claim setup_installs_what_is_missing_and_makes setup_installs_as_root
claim setup_installs_nothing_where_nothing_is_missing setup_leaves_a_complete_machine_alone
exit $status
