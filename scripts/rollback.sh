#!/usr/bin/env bash
# Goes back to the previous system with its secrets, here or on the named machine; --to N names the generation.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
exec sealift rollback "$@"
