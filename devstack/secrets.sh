#!/bin/sh
# `make secrets` with any Python from 3.11 on, without packages; where there is none, in a container.
set -eu
cd "$(dirname "$0")/.."

for candidate in ${PYTHON:-} python3 /usr/bin/python3 .venv/bin/python; do
    if command -v "$candidate" >/dev/null && "$candidate" -c \
        'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$candidate" -m devstack.make_secrets
    fi
done
if command -v docker >/dev/null; then
    echo "no python3 on this machine: running in a container of python:3.11-slim" >&2
    exec docker run --rm --network none -u "$(id -u):$(id -g)" -v "$PWD:/penstock" -w /penstock \
        python:3.11-slim python -B -m devstack.make_secrets
fi
echo "make secrets needs python3 (3.11 or later, no packages: apt-get install python3-minimal)," \
    "or docker, to write .env and .secrets/; then: docker compose up -d --build --wait" >&2
exit 1
