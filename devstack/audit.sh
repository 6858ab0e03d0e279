#!/bin/sh
# Ask PyPI's advisories about every pin of a lock. pip-audit lives in an environment of its own:
# what it needs is no part of the product.
set -eu
cd "$(dirname "$0")/.."
lock=${1:-requirements.lock}
tool=.venv-audit/bin/pip-audit
if [ ! -x "$tool" ]; then
    .venv/bin/python -m venv --clear .venv-audit
    .venv-audit/bin/python -m pip install -q --disable-pip-version-check 'pip-audit>=2.9,<3'
fi
said=$(mktemp)
trap 'rm -f "$said"' EXIT
status=0
"$tool" --strict --progress-spinner off --disable-pip --require-hashes --requirement "$lock" \
    >"$said" 2>&1 || status=$?
cat "$said"
# Strict: a pin without an answer is a fault. pip-audit ends with 1 for these and findings alike.
if [ "$status" -ne 0 ] && ! grep -q '^Found [0-9]* known vulnerabilit' "$said"; then
    echo "the audit did not happen: PyPI's advisories did not answer for every pin (see above)" >&2
    exit 2
fi
exit "$status"
