#!/usr/bin/env bash
# Provides what agentainer needs on this machine: Docker Engine (running), redis-server (installed, not running) and a
# linker. Installs only what is missing, says what it does, and is quick when nothing is.
#
#   scripts/setup.sh run     what `make run` needs
#   scripts/setup.sh test    and what `make test` needs on top: mmdebstrap, which makes the tests' Debian image, and the
#                            Python clients that the front end is tested with (scripts/clients.sh)
#   scripts/setup.sh bench   what `make bench` needs, and nothing else: nginx, HAProxy, wrk and h2load (installed, not running)
#
# Debian and Ubuntu, as root or with sudo. Elsewhere it names what to install and exits 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

mode=${1:-run}
case "$mode" in
  run | test | bench) ;;
  *) die "unknown mode '$mode'." "Use: scripts/setup.sh run|test|bench" ;;
esac

# A plain user's PATH on Debian lacks the folders where daemons live.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# ---- what is missing ------------------------------------------------------------------------------------------------

packages=()
have cargo || die "Rust is missing." "Install it with rustup (https://rustup.rs); this repository pins the version it wants."
have cc || packages+=(gcc libc6-dev)
have curl || packages+=(curl)
install_docker=false
# Services that come with a package and are not wanted: what we run of them we run ourselves.
unwanted=()
if [ "$mode" = bench ]; then
  if ! have nginx; then packages+=(nginx-light) unwanted+=(nginx); fi
  if ! have haproxy; then packages+=(haproxy) unwanted+=(haproxy); fi
  have wrk || packages+=(wrk)
  have h2load || packages+=(nghttp2-client)
else
  if ! have docker; then
    install_docker=true
    packages+=(docker.io)
    # Where the kernel enforces AppArmor, Docker can start no container without its parser.
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] && ! have apparmor_parser; then
      packages+=(apparmor)
    fi
  fi
  if ! have redis-server; then packages+=(redis-server) unwanted+=(redis-server); fi
fi
# With these no agent sends from another's address; root finds them where others' PATH may not look.
if [ "$mode" != bench ]; then
  have nft || [ -x /usr/sbin/nft ] || packages+=(nftables)
  have ip || [ -x /usr/sbin/ip ] || packages+=(iproute2)
fi
if [ "$mode" = test ]; then
  have mmdebstrap || packages+=(mmdebstrap)
  # Where it is split off, venv can be imported and makes nothing without ensurepip.
  python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3 python3-venv)
fi

# ---- installing -----------------------------------------------------------------------------------------------------

# A freshly installed package starts its service. For redis-server that is not wanted at all: it would listen on port
# 6379, and agentainer runs Redis processes of its own and wants that port for the agents. So it is with nginx and HAProxy,
# which are only measured. For Docker it is too early: where its start-up script cannot work (no systemd, odd cgroups) the
# whole installation would fail over it, and Docker is started below, with more care. So all are kept from starting for as
# long as the installation lasts (Debian's policy-rc.d), and what is not wanted is disabled afterwards. What was here before
# is left alone.
policy=/usr/sbin/policy-rc.d
policy_kept=$policy.before-agentainer
guard_services() {
  if [ -e "$policy" ] && [ ! -e "$policy_kept" ]; then as_root mv "$policy" "$policy_kept"; fi
  as_root tee "$policy" >/dev/null <<POLICY
#!/bin/sh
# Put here by agentainer's scripts/setup.sh for the time of one installation.
case "\$1" in redis* | docker* | nginx* | haproxy*) exit 101 ;; esac
if [ -x "$policy_kept" ]; then exec "$policy_kept" "\$@"; fi
exit 0
POLICY
  as_root chmod 755 "$policy"
}
unguard_services() {
  if [ -e "$policy_kept" ]; then
    as_root mv "$policy_kept" "$policy"
  elif grep -qs "agentainer's scripts/setup.sh" "$policy"; then
    as_root rm -f "$policy"
  fi
}

if [ ${#packages[@]} -gt 0 ]; then
  if ! have apt-get; then
    die "missing on this machine: ${packages[*]} (names as in Debian)." \
      "Only Debian and Ubuntu are set up by this script: install these with your system's own tools, then try again."
  fi
  can_be_root || die "missing on this machine: ${packages[*]}." \
    "Installing needs root, and there is no sudo here. As root: apt-get install ${packages[*]}"
  say "Installing from this system's package archive: ${packages[*]}"
  apt() { as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -o DPkg::Lock::Timeout=120 "$@"; }
  log=$(mktemp)
  trap 'rm -f "$log"; unguard_services' EXIT
  apt update >"$log" 2>&1 || note "apt-get update had trouble; going on with the lists that are here"
  # Newer releases keep Docker's command-line client in a package of its own.
  if $install_docker && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
  guard_services
  installed=true
  apt install -y --no-install-recommends "${packages[@]}" >"$log" 2>&1 || installed=false
  unguard_services
  for service in "${unwanted[@]}"; do
    # By file where systemd is installed, running or not; by the init script's links otherwise.
    if have systemctl; then
      as_root systemctl disable "$service.service" >/dev/null 2>&1 || true
    elif have update-rc.d; then
      as_root update-rc.d "$service" disable >/dev/null 2>&1 || true
    fi
    note "$service is installed but neither started nor enabled: we run our own"
  done
  if ! $installed; then
    tail -n 15 "$log" >&2
    die "apt-get could not install: ${packages[*]}." "Its last lines are above."
  fi
  rm -f "$log"
  trap - EXIT
fi

if [ "$mode" = bench ]; then exit 0; fi

# ---- Docker running -------------------------------------------------------------------------------------------------

dockerd_log=/var/log/dockerd.log
# wait_for_docker SECONDS: until Docker answers. Status 1 after that long.
wait_for_docker() {
  local end=$((SECONDS + $1))
  until find_docker; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.3
  done
}

start_docker() {
  if [ -d /run/systemd/system ] && have systemctl; then
    say "Starting Docker (systemctl start docker)"
    as_root systemctl start docker && wait_for_docker 60 && return 0
  elif [ -x /etc/init.d/docker ] && have service; then
    say "Starting Docker (service docker start)"
    # The init script may decline (cgroup checks of its own): the bare daemon below is the second way.
    if as_root service docker start >/dev/null 2>&1 && wait_for_docker 20; then return 0; fi
  fi
  have dockerd || return 1
  local try
  # Twice: after a daemon was killed, its containerd may be in the way of the first start.
  for try in 1 2; do
    say "Starting Docker (dockerd in the background, log in $dockerd_log)"
    as_root sh -c "setsid nohup dockerd >>$dockerd_log 2>&1 </dev/null &"
    if wait_for_docker 45; then return 0; fi
    note "try $try: it does not answer yet"
  done
  return 1
}

if ! find_docker; then
  if [ -n "${DOCKER_HOST:-}" ]; then
    die "Docker does not answer at DOCKER_HOST=$DOCKER_HOST." "Start it there, or unset DOCKER_HOST."
  fi
  can_be_root || die "Docker does not answer, and starting it needs root; there is no sudo here." \
    "As root: systemctl start docker (or: dockerd). If it runs, you may lack the right to open /var/run/docker.sock."
  start_docker || {
    as_root tail -n 15 "$dockerd_log" >&2 2>/dev/null || true
    die "Docker could not be started." "See 'journalctl -u docker' or $dockerd_log, start it, then try again."
  }
fi

# ---- the tests' clients ---------------------------------------------------------------------------------------------

if [ "$mode" = test ]; then scripts/clients.sh; fi
