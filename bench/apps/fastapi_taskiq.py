"""FastAPI + taskiq on RabbitMQ; taskiq's own message format, so its own workers only."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aio_pika import ExchangeType
from fastapi import FastAPI
from pydantic import BaseModel
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType

broker = AioPikaBroker(
    os.environ["AMQP_URL"],
    exchange=Exchange(name="tasks", type=ExchangeType.DIRECT, declare=False),
    task_queues=[Queue(name="default", type=QueueType.QUORUM, declare=False)],
)


@broker.task(task_name="demo.add")
async def add(x: int, y: int) -> int:
    return x + y


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


class Add(BaseModel):
    x: int
    y: int


@app.post("/add", status_code=202)
async def submit(body: Add) -> dict[str, str]:
    return {"id": (await add.kiq(body.x, body.y)).task_id}
