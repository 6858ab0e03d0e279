"""Canvases over HTTP, executed by real workers, against what Celery makes of the same ones."""

import json
import sys
from typing import Any

import pytest
from kombu.connection import Connection

from devstack.children import Child
from devstack.product import ROOT
from gateway.api import parts
from gateway.canvas.canvas_request import MAX_AT_ONCE, MAX_CHORDS
from tests.deployment.lasting import Lasting
from tests.deployment.workers import Deployment
from tests.support.canvases import CANVASES, LISTS_OF_ONE, add, in_headers, row, total
from tests.support.waiting import eventually
from tests.support.worker_states import WorkerStates

DEPLOYMENT = {"app": "tests.apps.canvas_app"}
FAIL = {"task": "demo.fail", "args": ["no"], "immutable": True}


@pytest.fixture
async def deployment(lasting_deployment: Lasting) -> Lasting:
    await lasting_deployment.clear()
    return lasting_deployment


@pytest.fixture
def amqp_url(deployment: Lasting) -> str:
    return deployment.amqp_url


@pytest.fixture
def redis_url(deployment: Lasting) -> str:
    return deployment.redis_url


async def celery_says(deployment: Deployment, *arguments: str) -> Any:
    """What the program `tests.support.celery_canvases` prints."""
    program = Child(
        "celery-says", [sys.executable, "-m", "tests.support.celery_canvases", *arguments],
        log=deployment.folder / "celery-says.log", env=deployment.environment, cwd=ROOT,
    )  # fmt: skip
    program.spawn()
    await eventually(lambda: program.returncode is not None, 90)
    assert program.returncode == 0, program.log_tail()
    return json.loads(program.logged().decode().splitlines()[-1])


async def submit(gateway: Any, canvas: dict[str, Any], **headers: str) -> dict[str, Any]:
    response = await gateway.post("/v1/canvas", json=canvas, headers=headers)
    answer: dict[str, Any] = await response.json()
    assert response.status == 202, answer
    assert response.headers["Location"] == answer["links"]["self"]
    return answer


async def outcome(gateway: Any, answer: dict[str, Any], wait_s: float = 20) -> Any:
    """The result, or the results of a group."""
    response = await gateway.get(answer["links"]["self"], params={"wait": wait_s})
    told = await response.json()
    assert response.status == 200, told
    if answer["kind"] == "group":
        assert told["ready"], told
        return told["results"]
    assert told["state"] == "SUCCESS", told
    return told["result"]


async def state(gateway: Any, task_id: str, wait_s: float = 20) -> dict[str, Any]:
    response = await gateway.get(f"/v1/tasks/{task_id}", params={"wait": wait_s})
    told: dict[str, Any] = await response.json()
    assert response.status == 200, told
    return told


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"], scope="module")
async def test_results_are_celerys(deployment, gateway, pool):
    async with deployment.worker(pool):
        await announced(gateway)
        expected = await celery_says(deployment)
        for name, canvas in CANVASES.items():
            answer = await submit(gateway, canvas)

            assert await outcome(gateway, answer) == expected[name], name
            await everything_ended(gateway, answer, "SUCCESS")


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"], scope="module")
async def test_a_group_of_one_in_a_chain_gives_a_list_of_one(deployment, gateway, pool):
    async with deployment.worker(pool):
        for name, (canvas, expected) in LISTS_OF_ONE.items():
            answer = await submit(gateway, canvas)

            assert await outcome(gateway, answer) == expected, name
            if isinstance(expected, int):
                assert answer["kind"] == "task", name
            await everything_ended(gateway, answer, "SUCCESS")


@pytest.mark.parametrize(
    "pool", [pytest.param("threads", marks=pytest.mark.long), "prefork", "asyncio"], scope="module"
)
async def test_the_deepest_canvases_end(deployment, gateway, pool):
    deepest = {
        "groups in a row": (row(MAX_CHORDS + 1), [3, 3]),
        "groups in a row behind a task": ({"chain": [add(1, 2), row(MAX_CHORDS + 1)]}, [3, 3]),
        "in headers": ({"chain": [add(1, 2), in_headers(MAX_AT_ONCE)]}, 3 * (MAX_AT_ONCE + 1)),
    }
    async with deployment.worker(pool):
        for name, (canvas, expected) in deepest.items():
            answer = await submit(gateway, canvas)

            assert await outcome(gateway, answer, 40) == expected, name
            await everything_ended(gateway, answer, "SUCCESS")


async def announced(gateway: Any) -> None:
    await eventually(lambda: gateway.app[parts.SUBMITTING].catalog.announced("demo.total"), 10)


async def everything_ended(gateway: Any, answer: dict[str, Any], *states: str) -> None:
    response = await gateway.post("/v1/tasks/status?wait=10", json={"ids": answer["ids"]})
    found = {told["id"]: told.get("state") for told in (await response.json())["tasks"]}
    assert set(found.values()) <= set(states), found


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"], scope="module")
async def test_a_failure_ends_everything_that_waits_for_it(deployment, gateway, pool):
    async with deployment.worker(pool):
        for name, canvas in FAILING.items():
            answer = await submit(gateway, canvas)

            await everything_ended(gateway, answer, "SUCCESS", "FAILURE")
            if answer["kind"] == "task":
                ended = await state(gateway, answer["id"])
                assert ended["state"] == "FAILURE", name


async def test_a_group_is_told_by_counts_and_results_in_order(deployment, gateway):
    await deployment.rest()
    members = [add(1, 1), {"chain": [add(2, 2), add(3)]}, FAIL]
    answer = await submit(gateway, {"group": members})

    waiting = await (await gateway.get(answer["links"]["self"])).json()
    assert waiting["counts"] == {"PENDING": 3}
    assert waiting["results"] == [None, None, None]
    assert waiting["ready"] is False

    async with deployment.worker():
        await outcome(gateway, answer)
        told = await (await gateway.get(answer["links"]["self"])).json()
        assert told["counts"] == {"SUCCESS": 2, "FAILURE": 1}
        assert told["results"] == [2, 7, None]
        assert (told["total"], told["completed"]) == (3, 3)
        assert told["successful"] is False
        [first, chained, failed] = told["tasks"]
        tree = answer["canvas"]["group"]
        assert first["id"] == tree[0]["id"]
        assert chained["id"] == tree[1]["chain"][1]["id"]
        assert failed["error"]["type"] == "RuntimeError"


async def test_celery_restores_our_groups(deployment, gateway):
    nested = {"group": [add(1, 1), {"chain": [add(2, 2), {"group": [add(1), add(2)]}]}]}
    answer = await submit(gateway, nested)
    async with deployment.worker():
        assert await outcome(gateway, answer) == [2, [5, 6]]
        assert await celery_says(deployment, answer["id"]) == [2, [5, 6]]


FAILING: dict[str, dict[str, Any]] = {
    "chord": {"chord": {"header": [add(1, 1), FAIL], "body": total()}},
    "chord and then": {"chain": [{"group": [add(1, 1), FAIL]}, total(), add(1)]},
    "chain": {"chain": [FAIL, add(1), add(2)]},
    "chain then group": {"chain": [FAIL, {"group": [add(1), add(2)]}]},
    "chain then chord": {"chain": [FAIL, {"group": [add(1), add(2)]}, total(), add(1)]},
    "chord in a chord": {
        "chord": {
            "header": [{"chord": {"header": [FAIL, FAIL], "body": total()}}, add(1, 1)],
            "body": total(),
        }
    },
    "chord as a body": {
        "chord": {
            "header": [add(1, 1), FAIL],
            "body": {"chord": {"header": [total(), total()], "body": total()}},
        }
    },
    "group as a body": {
        "chord": {"header": [add(1, 1), FAIL], "body": {"group": [total(), total()]}}
    },
    "chain that ends in a group in a header": {
        "chord": {
            "header": [{"chain": [FAIL, {"group": [add(1), add(2)]}]}, add(1, 1)],
            "body": {"task": "demo.echo"},
        }
    },
    "chain in a header": {
        "chord": {"header": [{"chain": [FAIL, add(1), add(2)]}, add(1, 1)], "body": total()}
    },
}


async def test_the_header_of_a_chord_can_be_asked_like_a_group(deployment, gateway):
    answer = await submit(gateway, CANVASES["group then task"])
    async with deployment.worker():
        await outcome(gateway, answer)
        [header] = answer["groups"]
        told = await (await gateway.get(f"/v1/groups/{header}?wait=10")).json()
        assert told["results"] == [2, 4]


async def test_results_too_many_to_hold_are_waited_for_too(deployment, gateway):
    echo, value = {"task": "demo.echo"}, "z" * 900_000
    canvas = {"chain": [{**echo, "args": [value]}, {"group": [echo] * 12}]}
    async with deployment.worker():
        response = await gateway.post("/v1/canvas?wait=30", json=canvas)
        told = await response.json()

    assert (response.status, told["ready"]) == (200, True)
    assert "Content-Length" not in response.headers
    assert told["results"] == [value] * 12


async def test_links_are_called_with_the_result_and_errbacks_with_the_id(deployment, gateway):
    good = add(
        1, 2, link=[add(10), {"chain": [add(20), add(30)]}], link_error={"task": "demo.echo"}
    )
    bad = {
        **FAIL,
        "link": {"task": "demo.echo"},
        "link_error": [{"task": "demo.echo"}, add(5, 6, immutable=True)],
    }
    answer = await submit(gateway, {"group": [good, bad]})
    good, bad = answer["canvas"]["group"]
    async with deployment.worker():
        assert (await state(gateway, good["link"][0]["id"]))["result"] == 13
        assert (await state(gateway, good["link"][1]["chain"][1]["id"]))["result"] == 53
        assert (await state(gateway, bad["link_error"][0]["id"]))["result"] == bad["id"]
        assert (await state(gateway, bad["link_error"][1]["id"]))["result"] == 11
        for unneeded in (bad["link"][0], good["link_error"][0]):
            told = await state(gateway, unneeded["id"])
            assert (told["state"], told["error"]["type"]) == ("REVOKED", "NotNeeded")


async def test_the_same_key_publishes_a_canvas_once(deployment, gateway):
    canvas = CANVASES["deep"]
    first = await submit(gateway, canvas, **{"Idempotency-Key": "k"})
    again = await gateway.post("/v1/canvas", json=canvas, headers={"Idempotency-Key": "k"})
    other = await gateway.post(
        "/v1/canvas", json=CANVASES["chain"], headers={"Idempotency-Key": "k"}
    )

    assert (again.status, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert await again.json() == first
    assert (other.status, (await other.json())["code"]) == (422, "idempotency-key-reused")
    async with deployment.worker():
        assert await outcome(gateway, first) == await outcome(gateway, await again.json())


async def test_a_worker_obeys_the_options_of_later_tasks(deployment, make_gateway):
    gateway = await make_gateway(callback_hosts=("hook.example",))
    options = {
        "queue": "high_priority", "countdown": 2, "time_limit": 40, "soft_time_limit": 30,
        "expires": 60, "headers": {"color": "red"}, "callback_url": "http://hook.example/x",
    }  # fmt: skip
    async with deployment.worker("threads", "-Q", "default"):
        answer = await submit(gateway, {"chain": [add(1, 2), add(3, options=options)]})
        first, second = answer["ids"]
        assert (await state(gateway, first))["state"] == "SUCCESS"
        assert deployment.depth("high_priority") == 0  # it still waits for its time
        await eventually(lambda: deployment.depth("high_priority") == 1, 8)
    message = deployment.take("high_priority")
    assert message.headers["id"] == second
    assert message.headers["timelimit"] == [40, 30]
    assert message.headers["color"] == "red"
    assert message.headers["x-penstock-callback"] == "http://hook.example/x"
    assert message.headers["expires"]
    assert json.loads(message.body)[0] == [3, 3]


async def test_a_revoked_task_ends_what_stands_behind_it(deployment, gateway):
    await deployment.rest()
    canvas = {"chain": [add(1, 1), add(2), {"group": [add(3), add(4)]}, total()]}
    answer = await submit(gateway, canvas)
    response = await gateway.delete(f"/v1/tasks/{answer['ids'][0]}")
    assert response.status == 202
    async with deployment.worker():
        await everything_ended(gateway, answer, "REVOKED")


async def test_a_chord_goes_on_when_the_worker_died_before_it_told_of_a_part(
    deployment, gateway, amqp_url
):
    await deployment.rest()
    answer = await submit(gateway, CANVASES["chord"])
    first = answer["ids"][0]
    states = WorkerStates.at(deployment.redis_url)
    assert await states.start(first) == "start"
    await states.succeed(first, 2)
    await states.client.aclose()
    with Connection(amqp_url) as connection:  # the broker takes the messages back from it
        for _ in range(2):
            connection.default_channel.basic_get("default")
    async with deployment.worker():
        assert await outcome(gateway, answer) == 6


async def test_wait_answers_with_the_final_result(deployment, gateway):
    await deployment.rest()
    fast = await gateway.post("/v1/canvas?wait=0.05", json=CANVASES["chord"])
    assert fast.status == 202
    async with deployment.worker():
        chord = await gateway.post("/v1/canvas?wait=20", json=CANVASES["chord"])
        assert (chord.status, (await chord.json())["result"]) == (200, 6)
        group = await gateway.post("/v1/canvas?wait=20", json=CANVASES["group"])
        assert (group.status, (await group.json())["results"]) == (200, [2, 4, 6])
