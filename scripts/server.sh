# Where the server that `make run` starts lives, and how it is found again. Sourced after common.sh, never run.
# shellcheck shell=bash
#
# Settings, all optional: AGENTAINER_DATA_DIR, AGENTAINER_PORT, and SERVE_FLAGS (more flags for `agentainer serve`).

port=${AGENTAINER_PORT:-8081}
server=http://localhost:$port
# Whatever the caller's shell says: these scripts mean the server of this machine, and its own token.
export AGENTAINER_SERVER=$server
unset AGENTAINER_TOKEN

# The same default as the program's own: the command line of whoever calls `make run` finds its token there.
# shellcheck disable=SC2034 # own_data_dir is for run.sh
own_data_dir=${AGENTAINER_DATA_DIR:-}
if [ -n "$own_data_dir" ]; then
  data=$(realpath -m "$own_data_dir")
elif [ "$(id -u)" = 0 ]; then
  data=/var/lib/agentainer
else
  data=${XDG_DATA_HOME:-$HOME/.local/share}/agentainer
fi
export AGENTAINER_DATA_DIR=$data

target_dir=$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
bin=${target_dir:-$PWD/target}/release/agentainer

# by_docker COMMAND…: as whoever may open Docker's socket: the invoking user, or root by sudo.
by_docker() {
  if [ "${DOCKER[0]}" = sudo ]; then
    # sudo clears the environment.
    sudo env "AGENTAINER_DATA_DIR=$AGENTAINER_DATA_DIR" "AGENTAINER_SERVER=$AGENTAINER_SERVER" "$@"
  else
    "$@"
  fi
}

# server_pid: the process that has our data folder, or nothing. The lock is the truth: its file may be stale.
server_pid() {
  local lock=$data/server.lock
  by_docker test -e "$lock" || return 0
  by_docker flock --nonblock --shared "$lock" true || by_docker cat "$lock"
}

# is_ours PID: whether that process is the program built here, in this version or an older one.
is_ours() {
  case "$(by_docker readlink "/proc/$1/exe")" in "$bin" | "$bin (deleted)") ;; *) return 1 ;; esac
}

server_answers() { curl -fsS --max-time 5 -o /dev/null "$server/health" 2>/dev/null; }

# stop_server PID: asks it to end and waits, within a bound, until it has. The agents run on.
stop_server() {
  local end=$((SECONDS + 60))
  by_docker kill "$1" 2>/dev/null || return 0
  while [ "$(server_pid)" = "$1" ]; do
    [ "$SECONDS" -lt "$end" ] || die "the server (process $1) does not end." "Look at $data/server.log."
    sleep 0.1
  done
}
