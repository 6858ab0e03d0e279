#!/bin/sh
# The command `penstock` of this checkout: devstack/bootstrap.sh puts it into .venv/bin. It runs the
# code beside that folder, with nothing installed.
bin=$(dirname "$0")
PYTHONPATH="$bin/../..${PYTHONPATH:+:$PYTHONPATH}" exec "$bin/python" -m penstock "$@"
