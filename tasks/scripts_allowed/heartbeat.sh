#!/bin/sh
# Run by the shipped crontab entry each minute: proves that beat, RabbitMQ, a worker and a script work together.
echo "alive at $(date -u +%Y-%m-%dT%H:%M:%SZ) as $(id -un 2>/dev/null || id -u)"
