#!/bin/sh
# Format, lint and strict types beside the unit and contract tests: two cores, a minute.
set -u
checked=$(ls -d penstock gateway history tasks topology devstack tests bench 2>/dev/null)
found=$(mktemp)
trap 'rm -f "$found"' EXIT

# shellcheck disable=SC2086
{
    .venv/bin/ruff format --check --quiet $checked examples \
        && .venv/bin/ruff check --quiet $checked examples \
        && .venv/bin/python -m mypy $checked
} >"$found" 2>&1 &
static=$!

HYPOTHESIS_PROFILE=quick .venv/bin/python -m pytest -q tests/test_*.py tests/unit tests/contract
tested=$?
wait "$static"
static_status=$?
cat "$found"
[ "$tested" = 0 ] && [ "$static_status" = 0 ]
