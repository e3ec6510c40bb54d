#!/usr/bin/env bash
# Makes the image agentainer-test/python:latest for the tests: this system's own Debian or Ubuntu userland with Python,
# Flask, Redis' client and the tools that docs/network-architecture uses. From the package archive that this machine is
# set up with; no image registry is asked. Kept between runs: does nothing when its recipe has not changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh
need_docker

packages=(python3 python3-flask python3-redis python3-requests python3-psycopg2 curl ca-certificates iputils-ping dnsutils tcpdump procps)
label=agentainer-test.recipe
base=agentainer-test/debian:latest
image=agentainer-test/python:latest
# shellcheck source=/dev/null
codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")

# ---- the userland: half a minute, once ------------------------------------------------------------------------------

base_hash=$({ printf '%s\n' "$codename" "${packages[@]}"; } | sha256sum | cut -d' ' -f1)
if [ "$(image_label "$base" "$label")" != "$base_hash" ]; then
  have mmdebstrap || die "mmdebstrap is missing." "'scripts/setup.sh test' installs it."
  [ -n "$codename" ] || die "this system's release has no code name (/etc/os-release)." "The tests' image is made on Debian and Ubuntu."
  # The distribution's own sources of this machine, whichever mirror they name; other people's lists are left out.
  sources=()
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/{debian,ubuntu}.sources; do
    if [ -f "$file" ] && grep -q "$codename" "$file"; then sources+=("$file"); fi
  done
  [ ${#sources[@]} -gt 0 ] || die "no package source for $codename under /etc/apt." "Expected in sources.list, debian.sources or ubuntu.sources."
  say "Making the tests' Debian image ($codename; about half a minute)"
  work=$(mktemp -d)
  trap 'as_root rm -rf "$work"' EXIT
  as_root mmdebstrap --mode=root --variant=essential --quiet \
    --include="$(IFS=,; printf '%s' "${packages[*]}")" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "$codename" - "${sources[@]}" >"$work/root.tar" 2>"$work/log" || {
    tail -n 20 "$work/log" >&2
    die "mmdebstrap failed." "Its last lines are above."
  }
  "${DOCKER[@]}" import --change "LABEL $label=$base_hash" --change 'CMD ["bash"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$base" <"$work/root.tar" >/dev/null
fi

# ---- the agents on top: a second, when they changed -----------------------------------------------------------------

hash="$base_hash-$(hash_of tests/image/Dockerfile tests/image/seed_agent.py)"
if [ "$(image_label "$image" "$label")" != "$hash" ]; then
  say "Building $image"
  classic_build --label "$label=$hash" --build-arg "BASE=$base" --tag "$image" tests/image
fi
