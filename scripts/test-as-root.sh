#!/usr/bin/env bash
# Runs a test program as root with our environment: cargo's runner where only root may open Docker's socket.
exec sudo -E env "PATH=$PATH" "$@"
