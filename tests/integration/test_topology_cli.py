"""`python -m topology` on a real RabbitMQ, its exit codes and what it says."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
import pytest

from devstack.rabbit import Rabbit
from penstock.wire.delay import delay_route
from tests.support.waiting import eventually
from topology.__main__ import main
from topology.layout import DEFAULT_LAYOUT

pytestmark = pytest.mark.bare_vhost

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(rabbit: Rabbit, amqp_url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, management: bool = True, **environment: str) -> tuple[int, str]:
        variables = {"AMQP_URL": amqp_url, **environment}
        if management:
            variables["RABBITMQ_MANAGEMENT_URL"] = rabbit.management_url
        code = main(list(arguments), variables)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def on_broker(url: str, act: Callable[[aio_pika.abc.AbstractChannel], Awaitable[None]]) -> None:
    async def connect_and_act() -> None:
        async with await aio_pika.connect(url) as connection:
            await act(await connection.channel())

    asyncio.run(connect_and_act())


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str], str]:
    def change(old: str, new: str) -> str:
        text = DEFAULT_LAYOUT.read_text(encoding="utf-8")
        assert old in text
        (tmp_path / "layout.toml").write_text(text.replace(old, new), encoding="utf-8")
        return str(tmp_path / "layout.toml")

    return change


@pytest.mark.parametrize("management", [True, False])
def test_check_fails_until_apply(run: Run, management: bool):
    code, told = run("check", management=management)
    assert code == 1
    assert "missing  exchange 'tasks'" in told
    assert "missing  queue 'default.dead'" in told
    assert ("missing  binding of queue 'default' to 'tasks' with key 'default'" in told) == (
        management
    )

    code, told = run("apply", management=management)
    assert code == 0, told
    assert "34 exchanges, 46 queues, 100 bindings" in told

    code, told = run("check", management=management)
    assert code == 0, told
    assert "same as the layout" in told


@pytest.mark.parametrize("management", [True, False])
def test_a_changed_argument_is_named_and_the_way_around_explained(
    run: Run, changed: Callable[[str, str], str], management: bool
):
    run("apply")
    file = changed("[queues.default]\n", "[queues.default]\nlimit = 10\n")

    for command in ("check", "apply"):
        code, told = run(command, management=management, TOPOLOGY_FILE=file)

        assert code == 1
        assert "queue 'default': x-max-length is 5000000 on the broker, the layout says 100" in told
        assert "apply --unbind default" in told
        assert told.count("differs") == 1


def test_a_renamed_queue_takes_over_from_the_old_one(
    run: Run, changed: Callable[[str, str], str], amqp_url: str
):
    run("apply")
    file = changed("[queues.default]\n", "[queues.default_2]\nlimit = 10\n")

    code, told = run("--file", file, "apply", "--unbind", "default")
    assert code == 0, told
    assert "removed  binding of queue 'default' to 'tasks' with key 'default'" in told
    code, told = run("--file", file, "check")
    assert code == 0, told

    async def publish(channel: aio_pika.abc.AbstractChannel) -> None:
        tasks = await channel.get_exchange("tasks")
        await tasks.publish(aio_pika.Message(b"x"), "default", mandatory=True)
        old, new = await channel.get_queue("default"), await channel.get_queue("default_2")
        assert await old.get(fail=False) is None
        assert await new.get(no_ack=True)

    on_broker(amqp_url, publish)


def test_unbind_refuses_a_queue_of_the_layout_and_to_work_blindly(run: Run):
    code, told = run("apply", "--unbind", "default")
    assert code == 2
    assert "queue 'default' is in the layout" in told

    code, told = run("apply", "--prune", management=False)
    assert code == 2
    assert "need RABBITMQ_MANAGEMENT_URL" in told


def test_a_surplus_binding_is_a_difference_that_prune_removes(run: Run, amqp_url: str):
    run("apply")

    async def bind(channel: aio_pika.abc.AbstractChannel) -> None:
        queue = await channel.get_queue("default")
        await queue.bind("events", "#.default")
        foreign = await channel.declare_queue("audit", durable=True)
        await foreign.bind("events", "#")

    on_broker(amqp_url, bind)

    code, told = run("check")
    assert code == 1
    assert "surplus  binding of queue 'default' to 'events' with key '#.default'" in told
    assert "note     outside the layout: binding of queue 'audit' to 'events'" in told

    assert run("apply", "--prune")[0] == 0

    code, told = run("check")
    assert code == 0, told
    assert "audit" in told


def test_check_counts_delayed_messages(run: Run, amqp_url: str):
    run("apply")

    async def publish(channel: aio_pika.abc.AbstractChannel) -> None:
        exchange, key = delay_route(3600, "tasks", "default")
        await (await channel.get_exchange(exchange)).publish(aio_pika.Message(b"x"), key)

    on_broker(amqp_url, publish)

    async def counted() -> bool:
        _, told = await asyncio.to_thread(run, "check")
        return "note     1 delayed messages in penstock_delay_11" in told

    asyncio.run(eventually(counted, timeout_s=15, every_s=0.5))


def test_what_cannot_be_found_out_is_told_in_one_line(run: Run, tmp_path: Path):
    (tmp_path / "bad.toml").write_text("[queues.a]\nlimit = 0\nmax_priority = 3\n")

    code, told = run("--file", str(tmp_path / "bad.toml"), "check")
    assert code == 2
    assert len(told.splitlines()) == 2

    for command in ("check", "apply"):
        code, told = run(command, management=False, AMQP_URL="amqp://guest:guest@127.0.0.1:1/")
        assert code == 2
        assert len(told.splitlines()) == 1

    code, told = run("check", RABBITMQ_MANAGEMENT_URL="http://127.0.0.1:1", management=False)
    assert code == 2
    assert "refused" in told


def test_graph_and_show_need_no_broker(tmp_path: Path):
    def python(*arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-m", "topology", *arguments]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, encoding="utf-8", env=environment
        )
        return done.stdout

    assert python("show").startswith("EXCHANGES")
    assert python("graph").startswith("flowchart LR")
