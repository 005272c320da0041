#!/bin/bash
# Unpacks a Debian package and what it depends on, as they are in a release that the system need not be of. Nothing of the system
# is changed: apt gets lists and a cache of its own. The packages come from where the system's Debian packages come from, and apt
# checks who signed them.
# usage: scripts/fetch-package.sh RELEASE PACKAGE VERSION SHA256 DIRECTORY
set -euo pipefail

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
    printf 'fetch-package: %s\n' "$@" >&2
    exit 1
}

[[ $# -eq 5 ]] || die "usage: scripts/fetch-package.sh RELEASE PACKAGE VERSION SHA256 DIRECTORY"
release=$1 package=$2 version=$3 sha256=$4 directory=$5
[[ ! -e $directory ]] || die "$directory exists"
[[ $(uname -m) == x86_64 ]] || die "This is for x86_64 only."
command -v apt-get >/dev/null || die "This is not a Debian or Ubuntu system."
[[ -f $keyring ]] || die "There is no $keyring (package debian-archive-keyring) to check packages with."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{sources,lists/partial,archives/partial,unpacked}
own=(-qq -o "Dir::State::Lists=$work/lists" -o "Dir::Cache::Archives=$work/archives" -o Debug::NoLocking=1
    -o APT::Sandbox::User=root)
# Whose archive one is tells only its list.
apt-get "${own[@]}" update >&2 || die "apt-get update failed; its message is above."
mirror=$(apt-get "${own[@]}" indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Identifier: Packages' |
    sed -n 's/^Debian Debian //p' | head -n 1)
[[ $mirror ]] || die "No Debian archive is among the sources of apt."

echo "deb [arch=amd64 signed-by=$keyring] $mirror $release main" >"$work/sources/$release.list"
touch "$work/nothing-installed"
own+=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/sources"
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o "Dir::State::Status=$work/nothing-installed" -o APT::Install-Recommends=0)
apt-get "${own[@]}" update >&2 || die "The list of $release cannot be had; apt's message is above."
apt-get "${own[@]}" install -y --download-only "$package=$version" >&2 ||
    die "$package $version cannot be had; apt's message is above."
echo "$sha256  $work/archives/${package}_${version}_amd64.deb" | sha256sum --quiet --check >&2 ||
    die "$package $version is not what it was."
for archive in "$work"/archives/*.deb; do dpkg -x "$archive" "$work/unpacked"; done
mkdir -p "$(dirname "$directory")"
mv "$work/unpacked" "$directory"
