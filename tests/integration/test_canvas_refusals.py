"""POST /v1/canvas: what is refused, where the fault is, and that nothing was published."""

import json
import time
from typing import Any

import aio_pika
import pytest

from gateway.api import parts
from tests.integration.test_submit import messages
from tests.support.canvases import CANVASES, add, row, total

ANNOUNCED = {
    "task": "demo.add", "doc": "", "version": "1", "coroutine": False,
    "params": [
        {
            "name": name, "kind": "positional_or_keyword", "required": True,
            "schema": {"type": "integer"},
        }
        for name in ("x", "y")
    ],
    "returns": {},
}  # fmt: skip


def announce(gateway: Any) -> None:
    now = time.time()
    entry = json.dumps({**ANNOUNCED, "seen": now}).encode()
    gateway.app[parts.SUBMITTING].catalog.take({b"demo.add\nx": entry}, now)


REFUSALS: list[tuple[Any, int, str, list[str]]] = [
    ([], 400, "invalid-request", ["$"]),
    ({}, 400, "invalid-request", ["$"]),
    ({"chain": []}, 400, "invalid-request", ["$.chain"]),
    ({"group": [add(1, 2)], "chain": [add(1, 2)]}, 400, "invalid-request", ["$"]),
    ({"chain": [add(1, 2)], "immutable": True}, 400, "invalid-request", ["$.immutable"]),
    ({"chord": {"header": [add(1, 2)]}}, 400, "invalid-request", ["$.chord.body"]),
    (
        {"chain": [add(1, 2), {"task": "demo.add", "more": 1}]},
        400, "invalid-request", ["$.chain[1].more"],
    ),
    (
        {"chain": [add(1, 2), {"group": [{"task": "nobody.knows"}]}]},
        404, "unknown-task", ["$.chain[1].group[0]"],
    ),
    (
        {"chain": [add(1, 2), add(3, options={"queue": "nope"})]},
        404, "unknown-queue", ["$.chain[1]"],
    ),
    (
        {"chain": [add(1, 2), add(3, options={"expires": -5})]},
        400, "invalid-request", ["$.chain[1].options.expires"],
    ),
    (
        {"chain": [add(1, 2), add(3, options={"exchange": "dead"})]},
        403, "forbidden", ["$.chain[1]"],
    ),
    (
        add(1, 2, link_error=add(1, options={"callback_url": "http://elsewhere/"})),
        400, "invalid-request", ["$.link_error.options.callback_url"],
    ),
    (add(1, 2, link=[add(1), {"task": 5}]), 400, "invalid-request", ["$.link[1].task"]),
    (
        {"chain": [add(1, "x"), add("y"), add(3, 4), add(5, 6, immutable=True)]},
        422, "invalid-arguments",
        ["$.chain[0].args[1]", "$.chain[1].args[0]", "$.chain[2].args[1]"],
    ),
    (
        {"chord": {"header": [add(1), add(1, 2)], "body": add(1, immutable=True)}},
        422, "invalid-arguments", ["$.chord.header[0].kwargs.y", "$.chord.body.kwargs.y"],
    ),
]  # fmt: skip


async def test_a_refusal_names_its_place_and_publishes_nothing(make_gateway, amqp_url):
    gateway = await make_gateway(callback_hosts=("hook.example",))
    announce(gateway)
    for canvas, status, code, places in REFUSALS:
        response = await gateway.post("/v1/canvas", json=canvas)
        problem = await response.json()

        assert (response.status, problem["code"]) == (status, code), problem
        assert problem["queued"] == "no"
        assert [error["at"] for error in problem["errors"]] == places, problem
        assert "id" not in problem
    assert await messages(amqp_url) == []


async def test_what_a_chain_hands_on_is_left_out_of_the_checks(make_gateway):
    gateway = await make_gateway()
    announce(gateway)
    for canvas in (
        {"chain": [add(1, 2), add(3), {"group": [add(4), add(5, 6, immutable=True)]}]},
        {"chord": {"header": [add(1, 2)], "body": add(1)}},
        add(1, 2, link=add(1), link_error=[add(1)]),
    ):
        response = await gateway.post("/v1/canvas", json=canvas)

        assert response.status == 202, await response.text()


@pytest.mark.parametrize("depth", [31, 40, 5_000])
async def test_depth_has_a_bound(gateway, amqp_url, depth: int):
    text = '{"chain":[' * depth + json.dumps(add(1, 2)) + "]}" * depth
    response = await gateway.post(
        "/v1/canvas", data=text, headers={"Content-Type": "application/json"}
    )

    assert response.status == (202 if depth < 32 else 400), await response.text()
    assert len(await messages(amqp_url)) == (depth < 32)


@pytest.mark.parametrize("groups", [100, 160, 700, 4_999])
async def test_groups_in_a_row_have_a_bound(gateway, amqp_url, groups: int):
    response = await gateway.post("/v1/canvas", json=row(groups))
    problem = await response.json()

    assert (response.status, problem["code"], problem["queued"]) == (400, "invalid-request", "no")
    assert problem["errors"][0]["at"] == f"$.chain[{groups - 66}]"
    assert await messages(amqp_url) == []


async def test_a_large_canvas_is_taken_and_a_larger_one_refused(gateway, amqp_url):
    response = await gateway.post("/v1/canvas", json={"group": [add(1, 2)] * 10_000})
    answer = await response.json()
    assert response.status == 202, answer
    assert len(answer["ids"]) == len(set(answer["ids"])) == 10_000
    async with await aio_pika.connect(amqp_url) as connection:
        queue = await (await connection.channel()).get_queue("default")
        assert (await queue.purge()).message_count == 10_000
    told = await (await gateway.get(answer["links"]["self"])).json()
    assert told["counts"] == {"PENDING": 10_000}

    nothing: dict[str, Any] = {"group": []}
    for larger in ([add(1, 2)] * 10_001, [nothing] * 10_000):
        response = await gateway.post("/v1/canvas", json={"group": larger})
        assert (response.status, (await response.json())["code"]) == (400, "invalid-request")


async def test_a_body_that_every_task_of_a_header_would_carry_has_a_bound(gateway, amqp_url):
    body = {"task": "demo.echo", "kwargs": {"x": "y" * 500_000}}
    chord = {"chord": {"header": [add(1, 2)] * 200, "body": body}}
    inner = {"chord": {"header": [add(1, 2)], "body": total()}}
    for canvas in (
        chord,
        {"chain": [add(1, 2), chord]},
        {"chord": {"header": [inner] * 200, "body": body}},
    ):
        response = await gateway.post("/v1/canvas", json=canvas)
        problem = await response.json()

        assert (response.status, problem["code"]) == (413, "body-too-large"), problem
        assert problem["queued"] == "no"
    assert await messages(amqp_url) == []


async def test_what_groups_write_down_has_a_bound(gateway, amqp_url):
    inner: list[Any] = [add(1, 2)] * 9_000
    for _ in range(30):
        inner = [{"group": inner}]
    response = await gateway.post("/v1/canvas", json={"group": inner})
    problem = await response.json()

    assert (response.status, problem["code"]) == (400, "invalid-request"), problem
    assert (problem["queued"], problem["errors"][0]["at"]) == ("no", "$")
    assert "2097152 bytes" in problem["detail"]
    assert await messages(amqp_url) == []


async def test_groups_need_redis_and_chains_do_not(make_gateway, redis_server, amqp_url):
    gateway = await make_gateway()
    await redis_server.kill()
    try:
        response = await gateway.post("/v1/canvas", json=CANVASES["chord"])
        problem = await response.json()
        assert (response.status, problem["code"]) == (503, "state-unavailable")
        assert problem["queued"] == "no"
        assert await messages(amqp_url) == []

        response = await gateway.post("/v1/canvas", json=CANVASES["chain"])
        assert response.status == 202
    finally:
        await redis_server.start()


async def test_a_group_belongs_to_its_tenant(make_gateway):
    gateway = await make_gateway()
    answer = await (await gateway.post("/v1/canvas", json=CANVASES["group"])).json()
    task_id, group_id = answer["ids"][0], answer["id"]

    for path in (
        f"/v1/groups/{task_id}",
        f"/v1/groups/{group_id[:-1]}{'1' if group_id[-1] != '1' else '2'}",
        f"/v1/tasks/{group_id}",
    ):
        response = await gateway.get(path)
        assert (response.status, (await response.json())["code"]) == (404, "unknown-task-id")


@pytest.mark.bare_vhost
async def test_a_part_that_was_refused_is_told_with_all_ids(make_gateway, tmp_path, amqp_url):
    layout = tmp_path / "layout.toml"
    layout.write_text(
        """
        [exchanges.tasks]
        type = "direct"
        [queues.small]
        type = "classic"
        limit = 1
        bindings = [{ exchange = "tasks", key = "small" }]
        [queues.big]
        bindings = [{ exchange = "tasks", key = "big" }]
        [[routes]]
        task = "demo.*"
        exchange = "tasks"
        routing_key = "big"
        """
    )
    gateway = await make_gateway(topology_file=layout)
    small = add(1, 2, options={"queue": "small"})
    response = await gateway.post("/v1/canvas", json={"group": [small] * 40 + [add(1, 2)]})
    problem = await response.json()

    assert (response.status, problem["code"]) == (504, "unconfirmed"), problem
    assert problem["queued"] == "unknown"
    assert len(problem["ids"]) == 42
    there = {m.headers["id"] for q in ("small", "big") for m in await messages(amqp_url, q)}
    assert set(problem["confirmed"]) == there
    assert 0 < len(there) < 41


async def test_total_takes_lists(gateway):
    response = await gateway.post("/v1/canvas", json={"chain": [add(1, 2), total()]})
    assert response.status == 202
