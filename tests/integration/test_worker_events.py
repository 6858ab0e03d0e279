"""Events of a worker whose connection for them is lost: none holds up its loop, none is lost."""

import asyncio
import time

from celery import Celery

from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit
from penstock.worker.consuming import event_retries
from tests.support.waiting import eventually

SOON_S = 5.0
"""For an event whose connection is lost; Celery's own way may never end."""


async def test_an_event_on_a_lost_connection_takes_no_time_and_arrives_later(
    amqp_url: str, rabbit: Rabbit
):
    heard: list[str] = []
    async with TcpProxy(rabbit.port) as proxy:
        app = Celery(broker=proxy.url_through(amqp_url), set_as_current=False)
        listener = Celery(broker=amqp_url, set_as_current=False)
        near, far = listener.connection_for_read(), app.connection_for_write()
        far.transport_options = event_retries.TRIES
        receiver = listener.events.Receiver(
            near, handlers={"*": lambda event: heard.append(event["type"])}
        )
        listening = asyncio.create_task(
            asyncio.to_thread(receiver.capture, limit=None, timeout=None, wakeup=False)
        )
        dispatcher = await asyncio.to_thread(app.events.Dispatcher, far)
        event_retries.send_events_once(dispatcher, again_s=0.5)

        async def send(kind: str, *, retry: bool) -> None:
            began = time.monotonic()
            await asyncio.to_thread(dispatcher.send, kind, retry=retry)
            assert time.monotonic() - began < SOON_S

        async def both_ways() -> bool:
            await send("worker-first", retry=True)
            return "worker-first" in heard

        await eventually(both_ways, 10, 0.2)
        for number in range(3):
            proxy.cut(refuse=True)
            for again in range(5):
                await send(f"worker-late-{number}-{again}", retry=again % 2 == 1)
            proxy.resume()

            async def arrived(number: int = number) -> bool:
                await send("worker-next", retry=True)
                return f"worker-late-{number}-4" in heard

            await eventually(arrived, 15, 0.3)
        receiver.should_stop = True
        await send("worker-last", retry=False)
        await listening
        for connection in (near, far):
            connection.close()
