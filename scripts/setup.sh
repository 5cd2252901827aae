#!/usr/bin/env bash
# Makes .venv from requirements.lock, installs the project editable, and (as root on Debian) the system
# packages that the demo and the tests use. Safe to run again: costs a fraction of a second if nothing changed.
#   PYTHON=/path/to/python   use this interpreter for a new .venv
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
lock=requirements.lock
log=$(mktemp)
trap 'rm -f "$log"' EXIT
PATH=$PATH:/usr/sbin:/sbin # a plain user's PATH often lacks them; nft and ip live there

say() { printf 'setup %4ds  %s\n' "$SECONDS" "$*"; }
die() {
    say "$*" >&2
    exit 1
}

# Quiet while it works; the end of its output if it does not.
run() {
    "$@" >"$log" 2>&1 && return
    grep -v "^WARNING" "$log" | tail -n 25 >&2 || true
    return 1
}

digest() { { command -v sha256sum >/dev/null && sha256sum "$@" || shasum -a 256 "$@"; } | cut -d ' ' -f 1 | tr '\n' ' '; }

# One run at a time: the lock is the project folder itself, so nothing is left behind.
if command -v flock >/dev/null; then
    exec 9<"$root"
    flock -n 9 || { say "another set-up is running here; waiting for it" && flock -w 900 9; } ||
        die "the other set-up did not end within 15 minutes"
fi

# --- system packages: package | how to see that it is there | what is skipped without it
needed='
nftables        cmd:nft               isolation and firewall: demo and tests
libnftables1    lib:libnftables.so.1  isolation and firewall: demo and tests
python3         cmd:/usr/bin/python3  the client programs of test PCs: the whole demo
iproute2        cmd:ip                the whole demo, all testbed tests
umockdev        cmd:umockdev-run      USB devices: part of the demo, device tests
libumockdev0    lib:libumockdev.so.0  USB devices: part of the demo, device tests
libudev1        lib:libudev.so.1      device and media sensors: part of the demo, their tests
e2fsprogs       cmd:mkfs.ext4         removable media: part of the demo, media tests
tcpdump         cmd:tcpdump           the proof that no packet left: isolation tests
iputils-ping    cmd:ping              reachability: demo, isolation tests
iputils-arping  cmd:arping            unknown neighbours: part of the demo, neighbour tests
netcat-openbsd  cmd:nc                connections: demo, isolation and connection tests
dnsmasq-base    cmd:dnsmasq           names and leases: part of the demo, neighbour tests
util-linux      cmd:unshare           the whole demo, all testbed tests
procps          cmd:ps                process checks in the testbed tests
dbus-daemon     cmd:dbus-daemon       pop-ups on a desktop: notice tests
openssh-server  cmd:/usr/sbin/sshd    logons from other machines: logon tests
openssh-client  cmd:ssh               logons from other machines: logon tests
clamav          cmd:sigtool           the age of anti-virus signatures: posture tests
clamav-daemon   cmd:/usr/sbin/clamd   anti-virus that runs: posture tests
'
libraries=$( (ldconfig -p || true) 2>/dev/null)
present() {
    case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null ;;
    lib:*) [[ $libraries == *"${1#lib:} "* ]] ;;
    esac
}
missing_packages() {
    while read -r package probe _; do
        [[ -z $package ]] || present "$probe" || printf '%s ' "$package"
    done <<<"$needed"
}
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 && return
    say "reading the package lists (apt-get update)"
    run apt-get update -qq && run apt-get install -y -qq --no-install-recommends "$@"
}
can_apt() { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; }

if [[ $(uname -s) == Linux ]]; then
    missing=$(missing_packages)
    if [[ -n $missing ]] && can_apt; then
        say "installing system packages: $missing"
        # shellcheck disable=SC2086  # a list of words
        apt_install $missing || say "apt-get could not install them; going on without"
        hash -r
        libraries=$( (ldconfig -p || true) 2>/dev/null)
        missing=$(missing_packages)
    fi
    if [[ -n $missing ]]; then
        say "missing on this system, and what is skipped without it:"
        while read -r package probe without; do
            if [[ -n $package && " $missing" == *" $package "* ]]; then
                printf '             %-15s %s\n' "$package" "$without"
            fi
        done <<<"$needed"
    fi
    [[ $(id -u) == 0 ]] || say "not root: the demo and all tests marked root or testbed need root and are skipped"
else
    say "this is $(uname -s), not Linux: only the tests that need no kernel of ours run; the demo needs Linux"
fi

# --- interpreter: the lock is resolved for 3.11, so that one comes first
usable() { "$1" -c 'import sys, venv, ensurepip; ensurepip.version(); sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 /usr/bin/python3 python3.12 python3.13; do
        usable "$candidate" && printf '%s' "$candidate" && return
    done
    return 1
}
why_no_python() {
    local found
    if ! found=$(command -v python3); then
        echo "there is no python3 (on Debian: apt-get install python3 python3-venv)"
    elif ! "$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$("$found" --version) is too old; 3.11 or newer is needed (or set PYTHON=)"
    else
        echo "$found lacks venv or ensurepip (on Debian: apt-get install python3-venv)"
    fi
}

# The stamp has three words: the folder .venv was made in, the lock installed, the pyproject.toml installed.
stamp=$venv/.setup-stamp
want_home=${root// /_}
read -r want_lock want_project _ <<<"$(digest $lock pyproject.toml)"
have_home='' have_lock='' have_project=''
[[ ! -e $stamp ]] || read -r have_home have_lock have_project <"$stamp" || true

if [[ -e $venv ]] && ! "$venv/bin/python" -c '' >/dev/null 2>&1; then
    say ".venv is broken; making it anew"
    rm -rf "$venv"
elif [[ -n $have_home && $have_home != "$want_home" ]]; then
    say ".venv was made in another folder; making it anew"
    rm -rf "$venv"
fi
if [[ ! -e $venv ]]; then
    have_lock='' have_project=''
    if ! python=$(find_python); then
        can_apt || die "no usable Python: $(why_no_python)"
        say "installing python3-venv"
        apt_install python3 python3-venv || true
        hash -r
        python=$(find_python) || die "no usable Python: $(why_no_python)"
    fi
    say "making .venv with $("$python" --version)"
    run "$python" -m venv "$venv" || { rm -rf "$venv" && die "could not make .venv"; }
fi
pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)
if [[ $have_lock != "$want_lock" ]]; then
    rm -f "$stamp"
    have_project=''
    say "installing $(grep -c '^[a-z0-9].*==' $lock) locked packages, each checked by its hash"
    run "${pip[@]}" install -q --require-hashes -r $lock || die "the locked packages could not be installed"
fi
if [[ $have_project != "$want_project" ]]; then
    rm -f "$stamp"
    say "installing sekisho (editable)"
    run "${pip[@]}" install -q --no-deps --no-build-isolation -e . || die "the project could not be installed"
fi
[[ -e $stamp ]] || echo "$want_home $want_lock $want_project" >"$stamp"
say "ready"
