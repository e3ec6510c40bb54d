#!/usr/bin/env bash
# `make test`: formatting, lints, every test (those with Docker and Redis included) and the documentation.
# Nothing is skipped: a missing Docker is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

# One that hangs would say nothing of itself: after so many seconds the run ends, and tells what still ran.
limit=${TEST_LIMIT:-2400}

# stage WHAT: what begins now, and how long the run has lasted.
stage() { say "$1 (after $((SECONDS / 60)) min $((SECONDS % 60)) s)"; }

# below PROCESS: the processes that it began, and theirs.
below() {
  local child
  for child in $(ps -o pid= --ppid "$1"); do
    [ "$child" = "$watcher" ] || { below "$child"; printf '%s\n' "$child"; }
  done
}

# watch: waits for the limit, without a process of its own; then tells what runs, and ends it.
watch() {
  local begun watcher=$BASHPID
  exec {never}<> <(:)
  read -r -t $((limit - SECONDS)) -u "$never" || true
  stage "The time is over. What runs"
  ps -eo pid,ppid,stat,wchan:24,etimes,args --forest | cut -c1-180
  timeout 20 docker ps -a || note "Docker does not answer"
  begun=$(below $$)
  # shellcheck disable=SC2086 # one word each
  as_root kill -KILL $begun
}

watch &
watcher=$!
trap 'kill "$watcher" 2>/dev/null || true' EXIT

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

stage "Tests"
# Random runs of the simulation (tests/simulation); `make simulate` is the long one.
export SEEDS=${SEEDS:-2000}
# All of it, whatever fails: one failure must not hide another.
cargo test --locked --no-fail-fast
cargo test --locked --quiet --manifest-path examples/agent/Cargo.toml --target-dir examples/agent/target

stage "Documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
stage "All is well"
