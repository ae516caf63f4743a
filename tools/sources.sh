#!/bin/sh
# The C files of a folder (not its sub-folders unless -r), one a line, for meson: a new file needs no registration.
depth='-maxdepth 1'
[ "$1" = -r ] && { depth=; shift; }
[ -d "$1" ] || exit 0
# shellcheck disable=SC2086
find "$1" $depth -name "${2:-*.c}" | LC_ALL=C sort
