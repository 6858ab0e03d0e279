#!/bin/sh
# Greets its first argument: what to try first.
echo "hello ${1:-world}"
