#!/bin/bash
# Checks that this machine can build, test or check DeltaBox, and installs the Debian packages that are missing.
# usage: scripts/setup.sh [build|demo|bench|test|check]    each level includes the one before it; default: build
set -euo pipefail

level=${1:-build}
min_node=20

say() { printf '%s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

has_command() { command -v "$1" >/dev/null; }
has_library() { has_command pkg-config && pkg-config --exists "$1"; }
has_libc_headers() { has_command gcc && gcc -E -o /dev/null - <<<'#include <stdio.h>' 2>/dev/null; }
# Debian's python3 has venv but not the pip that a new environment is filled from; only python3-venv brings it.
has_venv() { has_command python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }
# A user's PATH leaves out where this is.
has_mkfs_xfs() { (PATH=$PATH:/usr/sbin:/sbin && has_command mkfs.xfs); }
has_nginx() { (PATH=$PATH:/usr/sbin:/sbin && has_command nginx); }
# Debian keeps each version's programs to itself.
has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
has_clang_format() { has_command clang-format-14 || has_command clang-format; }

# What is probed is the thing itself, not a package name: a compiler from elsewhere, or another distribution, is as good.
missing=()
need() {
    local package=$1
    shift
    "$@" || missing+=("$package")
}
need_for_build() {
    need gcc has_command gcc
    need make has_command make
    need pkg-config has_command pkg-config
    need libc6-dev has_libc_headers
    need libseccomp-dev has_library libseccomp
    need libcbor-dev has_library libcbor
    need libxxhash-dev has_library libxxhash
    need libzstd-dev has_library libzstd
}
need_for_demo() { need python3 has_command python3; }
need_for_bench() {
    need git has_command git
    need xfsprogs has_mkfs_xfs
}
need_for_test() {
    need python3-venv has_venv
    need procps has_command ps
    need vim has_command vim
    need tmux has_command tmux
    need curl has_command curl
    need redis-server has_command redis-server
    need nginx-light has_nginx
    need sqlite3 has_command sqlite3
    need postgresql has_postgres
    need golang-go has_command go
    need default-jdk-headless has_command javac
}
need_for_check() { need clang-format-14 has_clang_format; }

find_missing() {
    missing=()
    need_for_build
    if [[ $level != build ]]; then need_for_demo; fi
    if [[ $level != build && $level != demo ]]; then need_for_bench; fi
    if [[ $level == test || $level == check ]]; then need_for_test; fi
    if [[ $level == check ]]; then need_for_check; fi
}

check_kernel() { [[ $(uname -s) == Linux ]] || die "DeltaBox runs on Linux only; this is $(uname -s)."; }

check_node() {
    local how="Get a newer one: https://nodejs.org/en/download (any release from $min_node on will do)."
    has_command node || die "Node.js is not installed. $how"
    local version
    version=$(node --version)
    local major=${version#v}
    ((${major%%.*} >= min_node)) || die "Node.js $min_node or newer is needed; $(command -v node) is $version. $how"
    has_command npm || die "npm is not installed; it comes with Node.js. $how"
}

# On a distribution that has moved on from clang 14 its own clang-format is the one to install.
prefer_available_clang_format() {
    local i
    for i in "${!missing[@]}"; do
        if [[ ${missing[i]} == clang-format-14 ]] && ! apt-cache show clang-format-14 >/dev/null 2>&1; then
            missing[i]=clang-format
        fi
    done
}

install_missing() {
    say "setup: missing packages: ${missing[*]}"
    has_command apt-get || die "This is not a Debian or Ubuntu system, so they cannot be installed from here." \
        "Install what your distribution calls these, development headers included, and run this again."
    if [[ $EUID -ne 0 ]]; then
        die "Run this, then try again:" \
            "  sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends ${missing[*]}'"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null || die "apt-get update failed; its message is above."
    prefer_available_clang_format
    # Servers among them are for the tests, and not to run on this machine.
    local policy=/usr/sbin/policy-rc.d made=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=$policy
    fi
    local status=0
    apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null || status=$?
    if [[ $made ]]; then rm -f "$made"; fi
    [[ $status -eq 0 ]] || die "apt-get install failed; its message is above."
    find_missing
    [[ ${#missing[@]} -eq 0 ]] || die "Still missing after the installation: ${missing[*]}"
}

case $level in
build | demo | bench | test | check) ;;
*) die "unknown level '$level'; one of build, demo, bench, test, check." ;;
esac
check_kernel
check_node
find_missing
if [[ ${#missing[@]} -gt 0 ]]; then install_missing; fi
