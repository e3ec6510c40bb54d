#!/usr/bin/env bash
# The clients of tests/clients: Python with the libraries of its requirements.txt, in target/clients. Quick when they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

wanted=tests/clients/requirements.txt
place=target/clients
stamp=$place/installed
have python3 || die "python3 is missing." "'scripts/setup.sh test' installs it."
now="$(hash_of "$wanted") $(python3 --version)"
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$now" ]; then exit 0; fi

say "Installing the clients that the front end is tested with ($wanted, into $place)"
rm -rf "$place"
mkdir -p target
python3 -m venv "$place" || die "no virtual environment can be made." "'scripts/setup.sh test' installs python3-venv."
"$place/bin/pip" install --quiet --disable-pip-version-check --retries 3 -r "$wanted" ||
  die "pip could not install the clients." "Is there a way to a Python package index? PIP_INDEX_URL names another one."
printf '%s\n' "$now" >"$stamp"
