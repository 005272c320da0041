#!/bin/bash
# Unpacks the source of a Debian package: a real repository for tests and benchmarks. Nothing of the system is changed: apt
# gets lists of its own, of where the system's packages come from.
# Where the source cannot be fetched, a binary package's Python modules do, if one is named.
# usage: scripts/fetch-source.sh PACKAGE DIRECTORY [BINARY]    for instance python-django /tmp/django
set -euo pipefail

die() {
    printf 'fetch-source: %s\n' "$@" >&2
    exit 1
}

[[ $# -eq 2 || $# -eq 3 ]] || die "usage: scripts/fetch-source.sh PACKAGE DIRECTORY [BINARY]"
package=$1
directory=$2
binary=${3-}
[[ ! -e $directory ]] || die "$directory exists"
command -v apt-get >/dev/null || die "This is not a Debian or Ubuntu system."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/sources" "$work/lists/partial" "$work/download"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ ! -f $file ]] || sed 's/^deb /deb-src /' "$file" >"$work/sources/$(basename "${file%.list}").list"
done
for file in /etc/apt/sources.list.d/*.sources; do
    [[ ! -f $file ]] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/sources/$(basename "$file")"
done
cd "$work/download"
options=(-qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/sources"
    -o "Dir::State::Lists=$work/lists" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update || die "apt-get update failed; its message is above."
# The newest may be where this machine cannot get it.
for version in $(apt-cache "${options[@]}" showsrc --only-source "$package" | sed -n 's/^Version: //p'); do
    if apt-get "${options[@]}" source --download-only --tar-only "$package=$version" 2>"$work/why"; then break; fi
done
if archive=$(compgen -G '*.orig.tar.*[zo2]' | head -n 1); then
    mkdir -p "$work/unpacked"
    tar -xf "$archive" -C "$work/unpacked" --strip-components=1
    mv "$work/unpacked" "$directory"
elif [[ -n $binary ]] && apt-get -qq -o APT::Sandbox::User=root download "$binary" 2>"$work/why"; then
    dpkg-deb -x ./*.deb "$work/unpacked"
    mv "$work/unpacked/usr/lib/python3/dist-packages" "$directory"
else
    die "The source of $package cannot be fetched." "$(cat "$work/why" 2>/dev/null)"
fi
