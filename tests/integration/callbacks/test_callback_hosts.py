"""Which hosts may be called: no private address, whatever it is called, and no other name."""

import time

from gateway.api import parts
from gateway.endings import callback_events
from gateway.endings.callback_events import CallbackEvent
from tests.integration.callbacks.test_callbacks import submit
from tests.integration.test_submit import messages
from tests.support.waiting import eventually


async def test_private_addresses_are_refused_whatever_they_are_called(
    make_calling_gateway, receiver, deployment
):
    gateway = await make_calling_gateway(callback_hosts=("*",), callback_private=False)
    hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1")
    events = gateway.app[parts.ENDINGS].events
    for number, host in enumerate(hosts):
        event = CallbackEvent(
            event=f"{number:036}", id="t", url=receiver.url(host=host), state="SUCCESS",
            first_at=time.time() - callback_events.GIVE_UP_S,
        )  # fmt: skip
        await events.announce(event)
    await eventually(lambda: deployment.depth("callbacks.dead") == len(hosts), 20)

    assert not receiver.calls


async def test_hosts_are_checked_at_submit_and_again_at_delivery(
    make_calling_gateway, receiver, amqp_url, deployment
):
    await deployment.rest()
    gateway = await make_calling_gateway(callback_hosts=("hooks.example", "*.trusted.example"))
    for url in (
        "http://127.0.0.1/x", "ftp://hooks.example/", "hooks.example", "http:///x", "http://[/",
        "http://hooks.example.evil/", "http://trusted.example/", "http://hooks.example@evil/",
        "http://evil\\@hooks.example/",
    ):  # fmt: skip
        body = {"task": "demo.add", "args": [1, 2], "options": {"callback_url": url}}
        response = await gateway.post("/v1/tasks", json=body)
        problem = await response.json()
        assert (response.status, problem["code"]) == (400, "invalid-request"), url
        assert problem["errors"][0]["at"] == "$.options.callback_url"
    assert await messages(amqp_url) == []
    await submit(gateway, "https://hooks.example/x", "demo.add", 1, 2)
    await submit(gateway, "https://a.trusted.example:8443/x", "demo.add", 1, 2)

    event = CallbackEvent(event="1" * 36, id="t", url=receiver.url(), state="SUCCESS")
    await gateway.app[parts.ENDINGS].events.announce(event)
    await eventually(lambda: deployment.depth("callbacks.dead") == 1, 10)
    assert not receiver.calls
