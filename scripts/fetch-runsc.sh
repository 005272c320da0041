#!/bin/bash
# Unpacks gVisor's runsc as it is in the backports to Debian 12: what the benchmark compares with. Its version is pinned. Prints the
# program's path.
# usage: scripts/fetch-runsc.sh [DIRECTORY]    default: ~/.cache/deltabox/runsc, where the benchmark looks for it
set -euo pipefail

here=$(dirname "$(realpath "$0")")
die() {
    printf 'fetch-runsc: %s\n' "$@" >&2
    exit 1
}

[[ $# -le 1 ]] || die "usage: scripts/fetch-runsc.sh [DIRECTORY]"
directory=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/deltabox/runsc}")
if [[ -x $directory/runsc ]]; then
    echo "$directory/runsc"
    exit
fi
[[ ! -e $directory ]] || die "$directory exists"
mkdir -p "$(dirname "$directory")"
work=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$here/fetch-package.sh" bookworm-backports runsc 0.0~20240729.0-4~bpo12+2 \
    afdde883e3876ea807e19c708d4432674a20cb10186a7a5b554d62f38ea8de46 "$work/unpacked"
ln -s usr/bin/runsc "$work/unpacked/runsc"
"$work/unpacked/runsc" --version >&2 || die "runsc does not start."
mv "$work/unpacked" "$directory"
echo "$directory/runsc"
