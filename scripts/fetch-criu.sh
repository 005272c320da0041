#!/bin/bash
# Unpacks the CRIU of Debian 13 with its loader and its libraries: what `npm run bench:images` measures against where the
# system has none that works (Debian 12's does not start on newer kernels). Nothing of the system is changed: apt gets lists
# and a cache of its own. The packages come from where the system's Debian packages come from, and apt checks who signed
# them; the version of CRIU is pinned. Prints the program's path.
# usage: scripts/fetch-criu.sh [DIRECTORY]    default: ~/.cache/deltabox/criu, where the benchmark looks for it
set -euo pipefail

release=trixie
version=4.1.1-1
sha256=f3120d90b37d893879213d799c83696d6175ac8df3dc290e4e6c1fd0d2c2f82f
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
    printf 'fetch-criu: %s\n' "$@" >&2
    exit 1
}

[[ $# -le 1 ]] || die "usage: scripts/fetch-criu.sh [DIRECTORY]"
directory=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/deltabox/criu}")
program=$directory/criu
if [[ -x $program ]]; then
    echo "$program"
    exit
fi
[[ ! -e $directory ]] || die "$directory exists"
[[ $(uname -m) == x86_64 ]] || die "This is for x86_64 only."
command -v apt-get >/dev/null || die "This is not a Debian or Ubuntu system."
[[ -f $keyring ]] || die "There is no $keyring (package debian-archive-keyring) to check packages with."

mkdir -p "$(dirname "$directory")"
work=$(mktemp -d "$directory.XXXXXX")
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
apt-get "${own[@]}" install -y --download-only "criu=$version" >&2 ||
    die "CRIU $version cannot be had; apt's message is above."
echo "$sha256  $work/archives/criu_${version}_amd64.deb" | sha256sum --quiet --check >&2 ||
    die "CRIU $version is not what it was."
for package in "$work"/archives/*.deb; do dpkg -x "$package" "$work/unpacked"; done

cat >"$work/unpacked/criu" <<'END'
#!/bin/sh
root=${0%/*}/usr
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu" "$root/sbin/criu" "$@"
END
chmod +x "$work/unpacked/criu"
"$work/unpacked/criu" --version >&2 || die "CRIU does not start."
mv "$work/unpacked" "$directory"
echo "$program"
