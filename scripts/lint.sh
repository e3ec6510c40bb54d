#!/usr/bin/env bash
# Formatting and lints, warnings denied, of the server and of the example agent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh
agent=(--manifest-path examples/agent/Cargo.toml)

say "Formatting"
cargo fmt --all --check || die "some files are not formatted." "'cargo fmt --all' mends it."
cargo fmt "${agent[@]}" --check || die "the example agent is not formatted." "'cargo fmt ${agent[*]}' mends it."

say "Lints"
cargo clippy --locked --all-targets --quiet -- -D warnings
cargo clippy --locked --all-targets --quiet "${agent[@]}" --target-dir examples/agent/target -- -D warnings
