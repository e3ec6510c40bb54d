#!/usr/bin/env bash
# `make run`: from a machine with nothing but Rust to a running mesh of agents. Leaves the server running in the
# background. A second run is quick and changes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

scripts/setup.sh run
need_docker
# shellcheck source=scripts/server.sh
. scripts/server.sh

# ---- building -------------------------------------------------------------------------------------------------------

if [ ! -x "$bin" ]; then say "Building agentainer (the first time takes a few minutes)"; fi
cargo build --release --locked
scripts/images.sh

# ---- the command on the PATH ----------------------------------------------------------------------------------------

# As `cargo install` would put it; a link, so that it is always what was built last. `make clean` removes it.
link=${CARGO_HOME:-$HOME/.cargo}/bin/agentainer
if ! have agentainer; then
  case ":$PATH:" in
    *":$(dirname "$link"):"*)
      ln -sfn "$bin" "$link"
      note "the command 'agentainer' is now $link, a link to what was built here"
      ;;
  esac
fi
on_path=false
if [ "$(readlink -f "$(command -v agentainer || true)")" = "$(readlink -f "$bin")" ]; then on_path=true; fi

# ---- the server -----------------------------------------------------------------------------------------------------

# The folder belongs to the invoking user even where the server runs as root: the command line must find its token.
if [ ! -d "$data" ]; then
  mkdir -p "$(dirname "$data")"
  mkdir -m 700 "$data"
fi

start_server() {
  # shellcheck disable=SC2086 # several flags in one variable
  by_docker "$bin" serve --detach "$@" --data-dir "$data" --port "$port" --allow-host-path "$PWD/examples" ${SERVE_FLAGS:-} >/dev/null
}

pid=$(server_pid)
if [ -n "$pid" ] && is_ours "$pid" && ! by_docker cmp -s "/proc/$pid/exe" "$bin"; then
  say "The program has changed: the new one takes over (agents run on, no request fails)"
  if by_docker test -S "$data/handover.sock"; then
    start_server --takeover ||
      die "the new program could not take over: the earlier one (process $pid) runs on as it was." \
        "The reason is above, and in $data/server.log. 'make stop' ends the earlier one; 'make run' then starts the new one."
  else
    # It is too old to hand over.
    stop_server "$pid"
    pid=
  fi
fi
if [ -z "$pid" ] && server_answers; then
  "$bin" get agents >/dev/null 2>&1 ||
    die "something that is not ours answers on $server." "Stop it, or choose another port: AGENTAINER_PORT=8090 make run"
  note "a server that was started some other way answers on $server: using it"
elif [ -z "$pid" ]; then
  if [ "${DOCKER[0]}" = sudo ]; then note "the server runs as root: only root may open Docker's socket here"; fi
  start_server ||
    die "the server did not start." "Its log: $data/server.log"
  say "The server runs on $server (data and log in $data)"
fi
server_answers || die "the server does not answer on $server." "Its log: $data/server.log"
if [ "${DOCKER[0]}" = sudo ] && [ -e "$data/admin.token" ]; then sudo chown "$(id -u):$(id -g)" "$data/admin.token"; fi

# ---- the example mesh -----------------------------------------------------------------------------------------------

say "agentainer apply -f examples/service-mesh/agents.yaml --wait"
"$bin" apply -f examples/service-mesh/agents.yaml --wait
echo
say "agentainer get agents"
"$bin" get agents
echo
say "curl $server/agent/gateway/"
answer=$(curl -fsS --max-time 30 "$server/agent/gateway/") || die "the gateway did not answer through the proxy." "Try: agentainer describe gateway"
printf '%s\n' "$answer"

next() { printf '    %-48s %s\n' "$1" "$2"; }
echo
say "It runs. What to type next:"
if ! $on_path; then next "export PATH=\"$(dirname "$bin"):\$PATH\"" "so that your shell finds 'agentainer'"; fi
if [ "$port" != 8081 ]; then next "export AGENTAINER_SERVER=$server" "this server is not on the usual port"; fi
if [ -n "${own_data_dir:-}" ]; then next "export AGENTAINER_DATA_DIR=$data" "its token is not in the usual folder"; fi
next "agentainer describe gateway" "what it is and how it stands"
next "agentainer graph" "who calls whom"
next "agentainer logs -f gateway" "what it says"
next "${DOCKER[*]} rm -f auth; agentainer get agents" "break something, and see it mended"
next "agentainer apply -f examples/pubsub/agents.yaml" "two agents that talk in events"
next "make stop" "end it all; data is kept"
