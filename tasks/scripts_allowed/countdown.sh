#!/bin/sh
# Prints a line each second, to watch on a stream: countdown.sh [SECONDS]
left=${1:-5}
while [ "$left" -gt 0 ]; do
  echo "$left"
  left=$((left - 1))
  sleep 1
done
echo "done"
