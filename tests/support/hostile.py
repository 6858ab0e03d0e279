"""Values and messages that no client of the gateway can make, for workers to survive."""

import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from amqp import serialization
from amqp.spec import Basic
from kombu.connection import Connection

from tests.deployment.workers import FINAL, Deployment
from tests.support.waiting import eventually

JSON_VALUES: tuple[Any, ...] = (None, True, 7, 1.5, "text", [1, "a"], {"a": {"b": [1]}})
"""One of each type of JSON."""

EDGES: tuple[Any, ...] = (-1, 2**40, 2.0**1000, "", [], {})

AMQP_VALUES: tuple[Any, ...] = (
    b"\xff\x00",
    Decimal("1.25"),
    datetime(2026, 1, 31, tzinfo=UTC).replace(tzinfo=None),
    [b"\xff", [datetime(1970, 1, 2, tzinfo=UTC).replace(tzinfo=None)]],
)
"""What a header can be besides. RabbitMQ ends a connection that brings an infinite number."""

VALUES = JSON_VALUES + AMQP_VALUES

QUEUE = "high_priority"
FOLLOW: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(kw_only=True)
class Hostile:
    """A task message with something wrong in it, or strange."""

    headers: dict[str, Any] = field(default_factory=dict)
    """Over the protocol's own."""
    embed: dict[str, Any] = field(default_factory=dict)
    """Over what follows the task."""
    properties: dict[str, Any] = field(default_factory=dict)
    args: list[Any] = field(default_factory=lambda: [1, 2])
    body: bytes | None = None
    """In place of the right one."""
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Its message_id, by which it is found among dead letters."""

    @property
    def all_headers(self) -> dict[str, Any]:
        """What is published."""
        return {
            "lang": "py", "task": "demo.add", "id": self.key, "shadow": None, "eta": None,
            "expires": None, "group": None, "group_index": None, "retries": 0,
            "timelimit": [None, None], "root_id": self.key, "parent_id": None, "origin": "test",
            "ignore_result": False, "replaced_task_nesting": 0, "stamped_headers": None,
            "stamps": {}, **self.headers,
        }  # fmt: skip

    @property
    def task_id(self) -> Any:
        """Its id, whatever that is; AMQP has one type for text and bytes that are text."""
        found = self.all_headers["id"]
        return found.decode(errors="surrogateescape") if isinstance(found, bytes) else found


def publish(deployment: Deployment, messages: Iterable[Hostile]) -> None:
    """Publish past the gateway."""
    with Connection(deployment.amqp_url) as connection, connection.Producer() as producer:
        for message in messages:
            properties = {
                "content_type": "application/json", "content_encoding": "utf-8",
                "correlation_id": message.key, "message_id": message.key, **message.properties,
            }  # fmt: skip
            body = message.body
            if body is None:
                body = json.dumps([message.args, {}, FOLLOW | message.embed]).encode()
            producer.publish(
                body, exchange="", routing_key=QUEUE, headers=message.all_headers, **properties
            )


def letters(deployment: Deployment) -> set[Any]:
    """Take all dead letters and return their keys."""
    found = set()
    usual = serialization.PROPERTY_CLASSES[Basic.CLASS_ID]
    # It raises on some of those that it publishes.
    serialization.PROPERTY_CLASSES[Basic.CLASS_ID] = _key_in
    try:
        with Connection(deployment.amqp_url) as connection:
            while letter := connection.default_channel.basic_get(f"{QUEUE}.dead", no_ack=True):
                found.add(letter.properties["message_id"])
    finally:
        serialization.PROPERTY_CLASSES[Basic.CLASS_ID] = usual
    return found


_KEY = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def _key_in(buffer: Any, offset: int) -> tuple[dict[str, Any], int]:
    """Find the key in undecoded properties."""
    keys = _KEY.findall(bytes(buffer[offset:]))
    return {"message_id": keys[-1].decode() if keys else None}, len(buffer)


async def account(
    deployment: Deployment, messages: Iterable[Hostile], timeout_s: float = 60.0
) -> None:
    """Wait until each is recorded as ended, or is a dead letter."""
    waiting = {one.key: one for one in messages if one.all_headers.get("ignore_result") is not True}
    told: list[Hostile] = []

    def ended() -> bool:
        for key in letters(deployment):
            waiting.pop(key, None)
        keys = list(waiting)
        ids = [waiting[key].task_id for key in keys]
        names = [
            f"celery-task-meta-{one}".encode(errors="surrogateescape")
            if isinstance(one, str)
            else "-"
            for one in ids
        ]
        records = deployment.redis.mget(names) if names else []
        for key, text in zip(keys, records, strict=True):
            if text and json.loads(text)["status"] in FINAL:
                del waiting[key]
        told[:] = list(waiting.values())
        return not waiting

    try:
        await eventually(ended, timeout_s, 0.2)
    except Exception as error:
        raise AssertionError(f"{len(told)} never ended: {told[:5]}") from error


async def slots_work(deployment: Deployment, slots: int) -> None:
    """Find out whether that many tasks can run at once: each waits for the others."""
    mark = str(uuid.uuid4())
    meeting = [
        deployment.publish("demo.meet", [mark, slots], routing_key=QUEUE) for _ in range(slots)
    ]
    for task_id in meeting:
        record = await deployment.ended(task_id, 30)
        assert record["status"] == "SUCCESS", record
