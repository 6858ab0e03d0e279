"""The yardstick: parse the same JSON, give the same answer, publish nothing."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import orjson
from aiohttp import web

from bench.apps.listening import serve


class Task(msgspec.Struct):
    """The envelope of a submit."""

    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


decode = msgspec.json.Decoder(Task).decode


def receipt(task_id: str, task: str) -> web.Response:
    """The gateway's answer to a submit."""
    return web.Response(
        status=202,
        body=orjson.dumps(
            {
                "id": task_id,
                "task": task,
                "state": "PENDING",
                "queues": ["default"],
                "tracked": True,
                "accepted_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "links": {
                    "self": f"/v1/tasks/{task_id}",
                    "stream": f"/v1/tasks/{task_id}/stream",
                },
            }
        ),
        headers={
            "Content-Type": "application/json; charset=utf-8",
            "Location": f"/v1/tasks/{task_id}",
        },
    )


async def submit(request: web.Request) -> web.Response:
    task = decode(await request.read())
    return receipt(str(uuid4()), task.task)


def main() -> None:
    app = web.Application()
    app.router.add_post("/v1/tasks", submit)
    app.router.add_post("/v1/ingest/{collection}", ingest)
    serve(app)


async def ingest(request: web.Request) -> web.Response:
    """The yardstick of a single document: parse it, give it an id, answer."""
    orjson.loads(await request.read())
    body = orjson.dumps({"accepted": 1, "ids": [str(uuid4())], "batches": [str(uuid4())]})
    return web.Response(status=202, body=body, content_type="application/json")


if __name__ == "__main__":
    main()
