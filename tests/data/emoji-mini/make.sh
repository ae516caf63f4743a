#!/bin/sh
# Makes the pictures of this folder: six concepts in two styles, 32x32 RGBA, drawn here. metadata.jsonl was written by hand.
# Needs rsvg-convert (librsvg2-bin). Run it in its own folder.
set -eu
draw() { # name, colour, shape; %HOW% is replaced by the paint of the style
    for style in solid ring; do
        case $style in
        solid) how="fill='$2'" ;;
        ring) how="fill='none' stroke='$2' stroke-width='3'" ;;
        esac
        printf "<svg xmlns='http://www.w3.org/2000/svg' width='32' height='32'>%s</svg>" \
            "$(printf '%s' "$3" | sed "s/%HOW%/$how/g")" | rsvg-convert -o "$style-$1.png"
    done
}
draw ball '#d02020' '<circle cx="16" cy="16" r="12" %HOW%/>'
draw box '#2040d0' '<rect x="5" y="5" width="22" height="22" %HOW%/>'
draw arrow '#109030' '<path d="M4 12H16V5L28 16L16 27V20H4Z" %HOW%/>'
draw egg '#f0a020' '<ellipse cx="16" cy="17" rx="9" ry="12" %HOW%/>'
draw leaves '#30b060' '<path d="M3 28Q3 8 16 4Q29 8 29 28L16 16Z" %HOW%/>'
draw hill '#805030' '<path d="M2 28L16 6L30 28Z" %HOW%/>'
