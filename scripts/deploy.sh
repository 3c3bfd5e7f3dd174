#!/usr/bin/env bash
# Deploys this machine, or the named ones: shows what changes, asks, and goes back by itself when a check fails.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
exec sealift deploy "$@"
