"""A canvas of a thousand tasks for a stock app: the gateway beside Celery's own client.

The same tasks in the same classic queue of an app that knows nothing of the gateway. What is taken
is the time until the client goes on: a gateway's 202 after every confirm, or Celery's result.
"""

import statistics
from collections import defaultdict

import aio_pika

from bench import programs, table
from bench.figures import Figure, paired
from bench.gateways import serving
from bench.goals import Goal
from bench.report import Context, Report
from bench.servers import Servers

_TASKS = 1000
_COUNT = 5
"""Canvases of one run."""
_KINDS = ("group", "chord")
_CLIENTS = {
    "penstock": "Penstock: one POST, confirmed",
    "confirmed": "Celery's client, confirmed",
    "defaults": "Celery's client, defaults",
}
_QUEUE = "celery"
_LAYOUT = """
[exchanges.celery]
type = "direct"
owner = "app"

[queues.celery]
owner = "app"
bindings = [{ exchange = "celery", key = "celery" }]

[[routes]]
task = "demo.*"
exchange = ""
routing_key = "celery"
"""


async def compare(context: Context) -> Report:
    """Every client in turns, groups and chords.

    Raises:
        StartError: Something failed.
    """
    servers, plan = context.servers, context.plan
    layout = servers.folder / "app.toml"
    layout.write_text(_LAYOUT)
    await _declare(servers)
    took: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in _KINDS}
    async with serving(servers, env={"TOPOLOGY_FILE": str(layout)}) as [gateway]:
        for number in range(plan.rounds):
            for kind in _KINDS:
                for client in list(_CLIENTS)[:: 1 if number % 2 else -1]:
                    seconds = await programs.run(
                        "bench.apps.canvas_client",
                        client, kind, _TASKS, _COUNT, gateway.url,
                        env=servers.env,
                    )  # fmt: skip
                    took[kind][client].append(statistics.median(seconds) * 1e3)
                    context.tell(
                        f"canvas {number + 1}/{plan.rounds}  {kind} of {_TASKS}  "
                        f"{_CLIENTS[client]:<32}{took[kind][client][-1]:.0f} ms"
                    )
                    await servers.purge((_QUEUE,))
    return Report(
        name="canvas",
        data={kind: dict(clients) for kind, clients in took.items()},
        text=table.rows(
            (f"canvas of {_TASKS} tasks, submitted", *(f"{kind}, ms" for kind in _KINDS)),
            [
                (title, *(Figure.of(took[kind][client]).told(0) for kind in _KINDS))
                for client, title in _CLIENTS.items()
            ],
        ),
        goals=[
            Goal(
                what=f"{kind} of {_TASKS} for a stock app: {_CLIENTS[other]} takes as long",
                least=10, aim=10, unit="×",
                measured=paired(took[kind][other], took[kind]["penstock"]),
            )
            for kind in _KINDS
            for other in ("confirmed", "defaults")
        ],
    )  # fmt: skip


async def _declare(servers: Servers) -> None:
    """Declare what the app's own workers would have declared."""
    async with await aio_pika.connect(servers.rabbit.url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("celery", "direct", durable=True)
        queue = await channel.declare_queue(_QUEUE, durable=True)
        await queue.bind(exchange, "celery")
