#!/bin/sh
# Remove what can be made again, and the data of `make run`, unless it is running.
set -eu
cd "$(dirname "$0")/.."
if [ -e .devstack/lock ] && command -v flock >/dev/null && ! flock -n .devstack/lock true; then
    echo "make run is at work in this folder: stop it first" >&2
    exit 1
fi
rm -rf .venv .venv-audit .devstack .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
find . -name __pycache__ -type d -prune -exec rm -rf {} +
