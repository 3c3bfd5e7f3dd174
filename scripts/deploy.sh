#!/usr/bin/env bash
# Deploys this machine, or the named ones: shows what changes, asks, and goes back by itself when a check fails. A home that
# is no part of its system goes with it. On this machine /etc/nixos leads to this repository afterwards; for others
# `--link-etc-nixos=DIR` says where it is there.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
link=(--link-etc-nixos)
for word in "$@"; do
  case $word in
    --all | --link-etc-nixos* | [!-]*) link=() ;;
  esac
done
exec sealift deploy "${link[@]}" "$@"
