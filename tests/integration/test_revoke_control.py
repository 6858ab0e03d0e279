"""The control messages of the gateway, byte for byte against kombu's own, and its replies."""

import asyncio
import threading

import pytest
from kombu.connection import Connection
from kombu.pidbox import Mailbox

from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.rabbitmq.parts import Broker
from tests.support.loops import turning
from tests.support.waiting import eventually
from topology.layout import load

NODE = "w1@host"


class Worker:
    """kombu's side of the remote control, as a Celery worker has it."""

    def __init__(self, amqp_url, name="celery"):
        self._connection = Connection(amqp_url)
        mailbox = Mailbox(name, type="fanout", queue_exclusive=False, queue_durable=True)
        self.heard = []
        self.node = mailbox(self._connection).Node(
            NODE, state=None, handlers={"echo": self._echo, "fails": self._fails},
            channel=self._connection.channel(),
        )  # fmt: skip
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _echo(self, state, **arguments):
        self.heard.append(arguments)
        return {"ok": arguments}

    def _fails(self, state, **arguments):
        raise ValueError("no")

    def _run(self):
        while not self._stopping.is_set():
            try:
                self._connection.drain_events(timeout=0.1)
            except TimeoutError:
                continue

    def __enter__(self):
        self._consumer = self.node.listen(callback=self.node.handle_message)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()
        self._connection.release()


def broker_at(amqp_url, **fields):
    config = GatewayConfig(amqp_url=amqp_url, **fields)
    return Broker.make(config, load(), lambda _outcome, _latency_s: None)


@pytest.fixture
async def control(amqp_url):
    broker = broker_at(amqp_url)
    async with broker.running(), turning(*broker.loopers):
        await eventually(lambda: broker.publisher.state == "ready", timeout_s=20)
        yield broker.control


async def answers(control, command, arguments, **options):
    return await control.ask(command, arguments, **options)


async def test_workers_hear_and_their_answers_come_back(amqp_url, control):
    with await asyncio.to_thread(Worker, amqp_url) as worker:
        everybody = await answers(control, "echo", {"task_id": "a"})
        named = await answers(control, "echo", {"task_id": "b"}, destination=[NODE])
        others = await answers(control, "echo", {"task_id": "c"}, destination=["other@host"])
        unknown = await answers(control, "penstock_terminate", {"task_id": "d"})

    assert everybody == [(NODE, {"ok": {"task_id": "a"}})]
    assert named == [(NODE, {"ok": {"task_id": "b"}})]
    assert others == []
    assert [call["task_id"] for call in worker.heard] == ["a", "b"]
    assert all("error" in answer for _, answer in unknown)


async def test_a_broadcast_needs_no_answer_and_no_worker(amqp_url, control):
    await control.broadcast("revoke", {"task_id": "nobody"})


async def test_without_a_broker_control_is_refused():
    broker = broker_at("amqp://127.0.0.1:1/")
    async with broker.running(), turning(*broker.loopers):
        with pytest.raises(Problem) as refused:
            await broker.control.broadcast("revoke", {"task_id": "x"})

    assert refused.value.code == "broker-unavailable"


async def test_workers_of_several_apps_hear_a_broadcast_and_answer(amqp_url):
    """Each app may have a `control_exchange` of its own; nobody hears on that of a third."""
    broker = broker_at(amqp_url, control_exchanges=("shop", "nobody", "celery"))
    async with broker.running(), turning(*broker.loopers):
        await eventually(lambda: broker.publisher.state == "ready", timeout_s=20)
        with (
            await asyncio.to_thread(Worker, amqp_url) as one,
            await asyncio.to_thread(Worker, amqp_url, "shop") as other,
        ):
            await broker.control.broadcast("echo", {"task_id": "a"})
            await eventually(lambda: len(one.heard) == len(other.heard) == 1)
            asked = await answers(broker.control, "echo", {"task_id": "b"})
        assert asked == [(NODE, {"ok": {"task_id": "b"}})] * 2
        assert broker.publisher.state == "ready"
