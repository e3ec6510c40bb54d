#!/usr/bin/env bash
# `make fuzz`: every fuzz target (tests/fuzz) for SECONDS_EACH from a new seed, in a release build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export SECONDS_EACH=${SECONDS_EACH:-60} SEED=${SEED:-$(date +%s)}
exec cargo test --locked --release --test fuzz -- --nocapture
