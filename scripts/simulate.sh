#!/usr/bin/env bash
# `make simulate`: the reconciler against a simulated Docker and a simulated Redis. One fault at every single moment of every
# story, then SEEDS random runs (default 100,000), on all cores. What goes wrong is printed with the command that repeats it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

say "One fault at every moment"
EVERY=1 cargo test --release --locked --test simulation law_1_one_fault -- --nocapture

say "${SEEDS:=100000} seeds from ${FROM:=0} on"
export SEEDS FROM
cargo test --release --locked --test simulation law_1_after_any -- --nocapture
