"""FastAPI + aio-celery: Celery's wire format without Celery."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aio_celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

celery = Celery()
celery.conf.update(broker_url=os.environ["AMQP_URL"], task_default_queue="default")


@celery.task(name="demo.add")
async def add(x: int, y: int) -> int:
    return x + y


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with celery.setup():
        # It would declare the queue as a classic one before its first publish.
        celery.broker._already_declared_queues.add("default")  # noqa: SLF001
        yield


app = FastAPI(lifespan=lifespan)


class Add(BaseModel):
    x: int
    y: int


@app.post("/add", status_code=202)
async def submit(body: Add) -> dict[str, str]:
    return {"id": (await add.delay(body.x, body.y)).id}
