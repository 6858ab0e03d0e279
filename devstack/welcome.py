"""The last thing that `make run` prints: where everything is, and three commands to try."""

from collections.abc import Mapping

_TITLES = {
    "GATEWAY_URL": "gateway",
    "AMQP_URL": "RabbitMQ",
    "RABBITMQ_MANAGEMENT_URL": "RabbitMQ's pages",
    "REDIS_URL": "Redis",
    "MONGO_URL": "MongoDB",
    "FLOWER_URL": "Flower",
}


def welcome(env: Mapping[str, str], folder: str) -> str:
    """Return the table of addresses and the commands.

    Args:
        env: What `.devstack/env` holds.
        folder: Where logs and data are, for people.
    """
    width = max(map(len, _TITLES.values()))
    table = "\n".join(
        f"  {title:<{width}}  {env[name]}" for name, title in _TITLES.items() if name in env
    )
    gateway = env["GATEWAY_URL"]
    header = f" -H 'Authorization: Bearer {env['API_KEY']}'" if "API_KEY" in env else ""
    curl = f"curl -s{header}"
    return f"""
Penstock is ready. Ctrl-C stops it; data and logs stay in {folder}/.

{table}

Try, in another terminal:

  # submit a task and wait for its result
  {curl} '{gateway}/v1/tasks?wait=10' -d '{{"task": "demo.add", "args": [2, 3]}}' \\
    -H 'Content-Type: application/json'

  # ingest two documents and see them stored in MongoDB
  printf '{{"n": 1}}\\n{{"n": 2}}\\n' | {curl} '{gateway}/v1/ingest/readings?key=n&ack=stored' \\
    -H 'Content-Type: application/x-ndjson' --data-binary @-

  # watch a task while it runs
  id=$({curl} {gateway}/v1/tasks -d '{{"task": "demo.progress", "args": [20, 0.2]}}' \\
    -H 'Content-Type: application/json' | sed 's/.*"id": *"\\([^"]*\\)".*/\\1/')
  curl -sN{header} {gateway}/v1/tasks/$id/stream

  # Celery's own commands, and what is queued; they find the addresses in {folder}/env
  .venv/bin/celery -A tasks.worker inspect active_queues
  .venv/bin/python -m topology check
"""
