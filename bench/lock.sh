#!/bin/sh
# Write requirements-<group>.lock for the dependency groups of the peers and of the Celery versions (all, or those named)
# that the conformance kit holds the product against: pinned, with hashes, no address of an index. What the product's lock pins, and a peer needs too, has the same version.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
.venv/bin/python -m venv "$tools/venv"
"$tools/venv/bin/pip" install -q --disable-pip-version-check pip-tools
.venv/bin/python - >"$tools/same.txt" <<'PYTHON'
import re
same = {"aio-pika", "aiohttp", "aiormq", "kombu", "pamqp", "redis", "uvloop"}
for line in open("requirements.lock"):
    if (pin := re.match(r"([a-z0-9-]+)==[^ ;]+", line)) and pin[1] in same:
        print(pin[0])
PYTHON
for group in ${*:-bench bench-celery-fastapi celery-5.4 celery-5.5 celery-5.6 neighbours}; do
    case $group in
        celery-*) same=/dev/null ;;   # each has the kombu and the redis-py of its time
        *) same=$tools/same.txt ;;
    esac
    .venv/bin/python - "$group" >"$tools/$group.in" <<'PYTHON'
import sys
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"][sys.argv[1]], sep="\n")
# redis wants it below Python 3.11.3 (Debian 12 has 3.11.2)
print("async-timeout>=4.0.3")
PYTHON
    CUSTOM_COMPILE_COMMAND='sh bench/lock.sh' "$tools/venv/bin/pip-compile" --quiet \
        --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe \
        -c "$same" --output-file "$tools/$group.lock" "$tools/$group.in"
    sed -e 's/^\(async-timeout==[^ ;]*\) /\1 ; python_full_version < "3.11.3" /' \
        -e "s#-r $tools/$group.in#$group#; /-c .*same.txt/d; /-c .*null/d" \
        "$tools/$group.lock" >"requirements-$group.lock"
done
