"""What `publish_channel.py` takes from aiormq's inner surface still works as it did."""

import asyncio

import aio_pika
import pytest
from aio_pika.connection import make_url

from gateway.rabbitmq.publish_channel import PromptTransport, PublishChannel
from gateway.rabbitmq.task_message import MessageOptions, template
from tests.support.waiting import eventually


class Heard:
    """Writes down what the channel tells."""

    def __init__(self) -> None:
        self.acked: set[int] = set()
        self.refused: set[int] = set()
        self.returns: list[tuple[str, str]] = []
        self.lost = asyncio.Event()

    def on_confirm(self, delivery_tag: int, *, multiple: bool, ack: bool) -> None:
        tags = range(1, delivery_tag + 1) if multiple else (delivery_tag,)
        (self.acked if ack else self.refused).update(tags)

    def on_return(self, message_id: str, reason: str) -> None:
        self.returns.append((message_id, reason))

    def on_lost(self, reason: BaseException | None) -> None:
        self.lost.set()


def frames(channel: PublishChannel, routing_key: str, name: str, exchange: str = "") -> bytes:
    made = template(
        "demo.add", exchange, routing_key, MessageOptions(), origin="o", id_length=len(name)
    )
    return made.frames(
        channel=channel.number, task_id=name.encode(), body=b"x" * 10, frame_max=channel.frame_max
    )


@pytest.fixture
def transport():
    return PromptTransport()


@pytest.fixture
async def connection(amqp_url, transport):
    connection = aio_pika.RobustConnection(make_url(amqp_url, reconnect_interval=0.1))
    transport.serve(connection)
    await connection.connect()
    yield connection
    await connection.close()


async def test_confirms_returns_and_loss_are_told(connection, transport):
    setup = await connection.channel()
    queue = await setup.declare_queue("here")
    heard = Heard()
    channel = await PublishChannel.open(connection, transport, heard)

    channel.write(frames(channel, "here", "kept") + frames(channel, "nowhere", "gone"))
    await eventually(lambda: heard.acked == {1, 2})

    assert heard.returns == [("gone", "NO_ROUTE")]
    assert (await queue.declare()).message_count == 1
    assert not channel.blocked
    channel.write(frames(channel, "x", "kills", exchange="no-such-exchange"))
    await asyncio.wait_for(heard.lost.wait(), 5)


async def test_what_aiormq_writes_itself_does_not_get_between(connection, transport):
    setup = await connection.channel()
    heard = Heard()
    channel = await PublishChannel.open(connection, transport, heard)

    async def declare(number: int) -> None:
        await setup.declare_queue(f"other-{number}", exclusive=True)

    others = [asyncio.create_task(declare(number)) for number in range(50)]
    for number in range(50):
        channel.write(frames(channel, "nowhere", f"{number:02d}"))
        await asyncio.sleep(0)
    await asyncio.gather(*others)

    await eventually(lambda: len(heard.acked) == 50)
    assert [name for name, _ in heard.returns] == [f"{number:02d}" for number in range(50)]


async def test_a_full_quorum_queue_is_heard_as_a_nack(connection, transport):
    setup = await connection.channel()
    await setup.declare_queue(
        "small",
        durable=True,
        arguments={
            "x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish",
        },
    )  # fmt: skip
    heard = Heard()
    channel = await PublishChannel.open(connection, transport, heard)

    async def refused() -> bool:
        channel.write(frames(channel, "small", "m"))
        await asyncio.sleep(0.01)
        return bool(heard.refused)

    assert await eventually(refused)
