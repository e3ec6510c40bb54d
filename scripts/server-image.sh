#!/usr/bin/env bash
# `make image`: the server's own image, agentainer:latest, from a static binary built on this machine (see Dockerfile).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh
need_docker

target=$(rustc -vV | sed -n 's/^host: //p')
say "Building a static binary for $target"
# The target is named, or the flag would reach procedural macros too, which cannot be linked that way.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" --target-dir target
classic_build --build-arg "BINARY=target/$target/release/agentainer" --tag agentainer:latest .
say "Built agentainer:latest; manifests/docker-compose.yml runs it"
