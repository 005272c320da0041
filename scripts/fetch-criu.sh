#!/bin/bash
# Unpacks the CRIU of Debian 13 with its loader and its libraries: what the benchmark compares with where the system has none that
# works (Debian 12's does not start on newer kernels). Its version is pinned. Prints the program's path.
# usage: scripts/fetch-criu.sh [DIRECTORY]    default: ~/.cache/deltabox/criu, where the benchmark looks for it
set -euo pipefail

here=$(dirname "$(realpath "$0")")
die() {
    printf 'fetch-criu: %s\n' "$@" >&2
    exit 1
}

[[ $# -le 1 ]] || die "usage: scripts/fetch-criu.sh [DIRECTORY]"
directory=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/deltabox/criu}")
if [[ -x $directory/criu ]]; then
    echo "$directory/criu"
    exit
fi
[[ ! -e $directory ]] || die "$directory exists"
mkdir -p "$(dirname "$directory")"
work=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$here/fetch-package.sh" trixie criu 4.1.1-1 \
    f3120d90b37d893879213d799c83696d6175ac8df3dc290e4e6c1fd0d2c2f82f "$work/unpacked"
cat >"$work/unpacked/criu" <<'END'
#!/bin/sh
root=${0%/*}/usr
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu" "$root/sbin/criu" "$@"
END
chmod +x "$work/unpacked/criu"
"$work/unpacked/criu" --version >&2 || die "CRIU does not start."
mv "$work/unpacked" "$directory"
echo "$directory/criu"
