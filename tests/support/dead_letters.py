"""What makes dead letters, and how they are asked for over HTTP."""

from typing import Any

import aio_pika

from tests.support.waiting import eventually

BODY = b'[[1,2],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


class DeadLetterBroker:
    """What a worker and another publisher would do."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel

    async def publish(
        self, task_id: str, exchange: str = "tasks", key: str = "default", **properties: Any
    ) -> None:
        headers: dict[str, Any] = {"id": task_id, "task": "demo.add", "lang": "py", "retries": 0}
        headers |= properties.pop("headers", {})
        await (await self._channel.get_exchange(exchange, ensure=False)).publish(
            aio_pika.Message(
                properties.pop("body", BODY),
                headers=headers,
                message_id=task_id,
                correlation_id=task_id,
                content_type="application/json",
                content_encoding="utf-8",
                **properties,
            ),
            key,
        )

    async def get(self, queue: str = "default") -> aio_pika.abc.AbstractIncomingMessage:
        there = await self._channel.get_queue(queue, ensure=False)

        async def message() -> Any:
            return await there.get(fail=False)

        found: aio_pika.abc.AbstractIncomingMessage = await eventually(message, timeout_s=10)
        return found

    async def reject(self, task_id: str, **more: Any) -> None:
        """Publish a message and dead-letter it as a worker does."""
        await self.publish(task_id, **more)
        await (await self.get()).reject(requeue=False)

    async def count(self, queue: str) -> int:
        there = await self._channel.declare_queue(queue, passive=True)
        return there.declaration_result.message_count or 0

    async def has(self, queue: str, count: int) -> None:
        async def reached() -> bool:
            return await self.count(queue) == count

        await eventually(reached, timeout_s=10)


async def look(client: Any, queue: str = "default", status: int = 200) -> Any:
    async with client.get(f"/v1/dead-letters/{queue}") as answer:
        body = await answer.json()
        assert answer.status == status, body
        return body


async def replay(client: Any, body: Any, queue: str = "default", status: int = 200) -> Any:
    async with client.post(f"/v1/dead-letters/{queue}/replay", json=body) as answer:
        found = await answer.json()
        assert answer.status == status, found
        return found
