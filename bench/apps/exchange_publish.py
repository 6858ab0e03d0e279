"""The bare handler with aio-pika's `Exchange.publish`: confirmed, mandatory, persistent."""

import os
import socket
from collections.abc import AsyncIterator
from uuid import uuid4

import aio_pika
import orjson
from aiohttp import web

from bench.apps.bare import decode, receipt
from bench.apps.listening import serve

EXCHANGE = web.AppKey("exchange", aio_pika.abc.AbstractExchange)
ORIGIN = f"bench@{socket.gethostname()}"


async def submit(request: web.Request) -> web.Response:
    task = decode(await request.read())
    task_id = str(uuid4())
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    message = aio_pika.Message(
        orjson.dumps([task.args, task.kwargs, embed]),
        headers={
            "lang": "py",
            "task": task.task,
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "origin": ORIGIN,
            "ignore_result": False,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        },
        content_type="application/json",
        content_encoding="utf-8",
        correlation_id=task_id,
        message_id=task_id,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await request.app[EXCHANGE].publish(message, routing_key="default", mandatory=True)
    return receipt(task_id, task.task)


async def connect(app: web.Application) -> AsyncIterator[None]:
    connection = await aio_pika.connect_robust(os.environ["AMQP_URL"])
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    app[EXCHANGE] = await channel.get_exchange("tasks")
    yield
    await connection.close()


def main() -> None:
    app = web.Application()
    app.router.add_post("/v1/tasks", submit)
    app.cleanup_ctx.append(connect)
    serve(app)


if __name__ == "__main__":
    main()
