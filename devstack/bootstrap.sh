#!/bin/sh
# Make .venv from requirements.lock when it is missing or older than the locks, then become the
# command given: `make` starts everything through this, and signals reach the program itself.
set -eu
cd "$(dirname "$0")/.."
made_from=.venv/.requirements.lock
of_flower=requirements-flower.lock

is_made() { cat requirements.lock "$of_flower" | cmp -s - "$made_from" 2>/dev/null; }

if ! is_made; then
    if command -v flock >/dev/null; then   # `make test` beside `make run`
        mkdir -p -m 700 .devstack          # `make run` keeps its data and secrets in it
        exec 9>.devstack/venv.lock
        flock 9
    fi
fi

if ! is_made; then
    python=
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null && "$candidate" -c \
            'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "Python 3.11, 3.12 or 3.13 is missing on this machine (apt-get install python3)." \
            "Or start everything in containers: make secrets && docker compose up -d --build --wait" >&2
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "installing python3-venv from Debian …"
        as_root=
        [ "$(id -u)" = 0 ] || as_root=sudo
        if ! { $as_root env DEBIAN_FRONTEND=noninteractive sh -c \
            'apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv'; }
        then
            echo "python3-venv is missing and could not be installed: apt-get install python3-venv" \
                "as root. Or start everything in containers: make secrets && docker compose up -d --build --wait" >&2
            exit 1
        fi
    fi
    echo "making .venv with $("$python" --version) from requirements.lock …"
    [ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null \
        || "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --disable-pip-version-check --require-hashes \
        -r requirements.lock
    # Not among the other packages: the command `celery` loads Flower, where it finds it, each time that
    # a worker starts: a third of the time until the application is imported.
    rm -rf .venv/flower
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes --no-deps \
        --target .venv/flower -r "$of_flower"
    cat requirements.lock "$of_flower" >"$made_from"
fi

# `celery --pool=custom` imports the pool before it looks into the working directory: the checkout is on
# the path of this Python, by a way from there that leads back to it.
for packages in .venv/lib/python3.*/site-packages; do
    [ -e "$packages/penstock-checkout.pth" ] || echo ../../../.. >"$packages/penstock-checkout.pth"
done

if ! cmp -s devstack/penstock.sh .venv/bin/penstock 2>/dev/null; then
    cp devstack/penstock.sh .venv/bin/penstock
    chmod +x .venv/bin/penstock
fi

exec 9>&-
exec "$@"
