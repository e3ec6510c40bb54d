#!/usr/bin/env bash
# Builds the example agents' image on this machine, from a static binary and `FROM scratch`: no registry is asked.
# One image carries every name the examples use, since an agent's image defaults to its own name.
# Does nothing when the images are there and their source has not changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh
need_docker

names=(gateway auth users orders publisher subscriber hello web worker)
source=examples/agent
target=$(rustc -vV | sed -n 's/^host: //p')
label=example-agent.source

mapfile -t files < <(find "$source/src" "$source/data" -type f; printf '%s\n' "$source"/{Cargo.toml,Cargo.lock,Dockerfile,nsswitch.conf})
hash="$target-$(hash_of "${files[@]}")"

stale=()
for name in "${names[@]}"; do
  [ "$(image_label "$name:latest" "$label")" = "$hash" ] || stale+=("$name")
done
[ ${#stale[@]} -gt 0 ] || exit 0

# An image of that name that is not one of ours belongs to somebody: it stays.
for name in "${stale[@]}"; do
  if "${DOCKER[@]}" image inspect "$name:latest" >/dev/null 2>&1 && [ -z "$(image_label "$name:latest" "$label")" ]; then
    die "an image named $name:latest is here already and is not the examples' own." \
      "Give it another name (docker tag), remove the old one (docker rmi $name:latest), then try again."
  fi
done

say "Building the example agents' image (${stale[*]})"
# The target is named, or the flag would reach procedural macros too, which cannot be linked that way.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked --release \
  --target "$target" --target-dir "$source/target" --manifest-path "$source/Cargo.toml"
classic_build --label "$label=$hash" --build-arg "BINARY=target/$target/release/example-agent" \
  --tag "${names[0]}:latest" "$source"
for name in "${names[@]:1}"; do "${DOCKER[@]}" tag "${names[0]}:latest" "$name:latest"; done
