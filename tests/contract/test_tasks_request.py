"""What a worker's main process hands to its pool: Celery's request, and ours in its place."""

import json
import pickle
from typing import Any

from celery.worker.request import create_request_cls
from kombu.message import Message

from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.request import Request
from topology.layout import load

BODY = [["marked", [{"_id": "1"}]], {"x": 1}, {"callbacks": None, "chain": None}]


class Pool:
    """Keeps what it is asked to run."""

    signal_safe = False

    def __init__(self) -> None:
        self.applied: list[tuple[Any, ...]] = []

    def apply_async(self, target: Any, args: tuple[Any, ...], **_: Any) -> None:
        self.applied.append(args)


def handed(task: str, body: object) -> tuple[Any, ...]:
    """Deliver a task message and return the arguments of the function that the pool is to call."""
    pool = Pool()
    with build_app(WorkerConfig(), load()) as app:
        message = Message(
            body=json.dumps(body),
            content_type="application/json",
            content_encoding="utf-8",
            headers={"id": "1", "task": task, "retries": 0},
            delivery_info={},
            accept={"application/json"},
        )
        made = create_request_cls(Request, app.tasks[task], pool, "worker@host", None, app=app)
        request = made(message, task=app.tasks[task], app=app, body=message.body)
        request.execute_using_pool(pool)
    return pool.applied[0]


def test_the_pool_gets_the_decoded_body_once():
    args = handed("documents.store", BODY)

    _, _, request, body, content_type, _ = args
    assert body == BODY
    assert content_type is None, "Celery would decode it once more"
    assert request["args"] is body[0]
    assert pickle.dumps(args).count(b"marked") == 1
