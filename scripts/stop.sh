#!/usr/bin/env bash
# `make stop`: ends the server and its Redis processes and removes our containers and network. Data is kept.
# `make clean` (scripts/stop.sh clean): and removes the data, the agents' volumes and the link to the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh
find_docker || DOCKER=(docker)

if [ ! -d "$data" ]; then
  say "Nothing to stop: there is no data folder ($data)"
elif [ ! -x "$bin" ]; then
  die "the program that was started ($bin) is gone, so it cannot be told to stop." "Build it again: cargo build --release --locked. Then try again."
else
  by_docker "$bin" stop --all
fi

if [ "${1:-}" = clean ]; then
  # Only a folder that is surely ours goes: it holds what the server made there.
  if [ -d "$data" ]; then
    if [ ! -e "$data/admin.token" ] && [ -n "$(ls -A "$data")" ]; then
      die "$data does not look like agentainer's data folder: left alone." "Remove it yourself if you are sure."
    fi
    # The agents' named volumes, known by the cluster's id.
    cluster=$(by_docker cat "$data/cluster" 2>/dev/null || true)
    if [ -n "$cluster" ]; then
      mapfile -t volumes < <("${DOCKER[@]}" volume ls --quiet --filter "label=agentainer.dev/cluster=$cluster")
      if [ ${#volumes[@]} -gt 0 ]; then
        say "Removing the agents' volumes: ${volumes[*]}"
        "${DOCKER[@]}" volume rm "${volumes[@]}" >/dev/null || die "a volume could not be removed." "Something else uses it."
      fi
    fi
    say "Removing $data"
    by_docker rm -rf "$data"
  fi
  link=${CARGO_HOME:-$HOME/.cargo}/bin/agentainer
  if [ -L "$link" ] && [ "$(readlink "$link")" = "$bin" ]; then rm -f "$link"; fi
fi
