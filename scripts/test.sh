#!/usr/bin/env bash
# `make test`: formatting, lints, every test (those with Docker and Redis included) and the documentation.
# Nothing is skipped: a missing Docker is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

scripts/setup.sh test
need_docker
scripts/lint.sh
scripts/images.sh
scripts/test-image.sh

# Where only root may open Docker's socket, the tests run as root; what builds them does not.
if [ "${DOCKER[0]}" = sudo ]; then
  host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
  export "CARGO_TARGET_${host}_RUNNER=$PWD/scripts/test-as-root.sh"
fi

say "Tests"
# Random runs of the simulation (tests/simulation); `make simulate` is the long one.
export SEEDS=${SEEDS:-2000}
# All of it, whatever fails: one failure must not hide another.
cargo test --locked --no-fail-fast
cargo test --locked --quiet --manifest-path examples/agent/Cargo.toml --target-dir examples/agent/target

say "Documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
say "All is well"
