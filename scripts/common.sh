# Shared by the scripts of this folder: how they speak, become root and find Docker. Sourced, never run.
# shellcheck shell=bash

# say: one line of progress. note: a detail under it. die: what is wrong, what to do, exit 1.
say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: as root, by sudo where we are not; fails where neither is to be had.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    return 126
  fi
}

can_be_root() { [ "$(id -u)" = 0 ] || have sudo; }

# Docker's answer, within a bound: a daemon that hangs is not a running daemon.
docker_answers() { timeout 20 "$@" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# find_docker: sets the array DOCKER to what reaches Docker: `docker`, or `sudo docker` where only root
# may open the socket. Status 1 when neither does.
find_docker() {
  DOCKER=(docker)
  have docker || return 1
  docker_answers docker && return 0
  if [ "$(id -u)" != 0 ] && have sudo && docker_answers sudo -n docker; then
    DOCKER=(sudo docker)
    return 0
  fi
  # sudo that has to ask for a password: only worth it where somebody is there to answer.
  if [ "$(id -u)" != 0 ] && have sudo && [ -t 0 ] && [ -S /var/run/docker.sock ]; then
    sudo -v || return 1
    docker_answers sudo docker && DOCKER=(sudo docker) && return 0
  fi
  return 1
}

need_docker() {
  find_docker || die "Docker does not answer." "'make setup' installs and starts it; 'docker version' says more."
}

# hash_of FILE…: one SHA-256 over names and contents, the same whatever the order and the machine.
hash_of() {
  local f
  printf '%s\n' "$@" | LC_ALL=C sort | while IFS= read -r f; do
    printf '%s %s\n' "$(sha256sum <"$f" | cut -d' ' -f1)" "$f"
  done | sha256sum | cut -d' ' -f1
}

# image_label IMAGE KEY: that label of an image, or nothing.
image_label() {
  "${DOCKER[@]}" image inspect --format "{{ index .Config.Labels \"$2\" }}" "$1" 2>/dev/null || true
}

# classic_build ARGUMENT…: `docker build` with the classic builder, which is in every Docker Engine; buildx is not.
# Quiet where it goes well.
classic_build() {
  local log
  # By env and not as a prefix: sudo would drop the variable.
  if ! log=$("${DOCKER[@]:0:${#DOCKER[@]}-1}" env DOCKER_BUILDKIT=0 docker build "$@" 2>&1); then
    printf '%s\n' "$log" | tail -n 20 >&2
    die "'docker build $*' failed." "Its last lines are above."
  fi
}
