"""Links and errbacks over HTTP: called as Celery calls them, and each with an end."""

from typing import Any

import pytest

from tests.deployment.lasting import Lasting
from tests.integration.test_canvas_runs import FAIL, state, submit
from tests.support.canvases import add, total

DEPLOYMENT = {"app": "tests.apps.canvas_app"}


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


def task(name: str, *args: Any, **more: Any) -> dict[str, Any]:
    return {"task": f"demo.{name}", "args": list(args), **more}


async def ends(gateway: Any, answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """How every task of a canvas ended, by id."""
    response = await gateway.post("/v1/tasks/status?wait=20", json={"ids": answer["ids"]})
    return {one["id"]: one for one in (await response.json())["tasks"]}


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
async def test_errbacks_are_called_by_their_signature_and_each_ends(deployment, gateway, pool):
    failing = {
        **FAIL,
        "link": {"chain": [task("echo"), task("shape", 1, link=task("echo"))]},
        "link_error": [
            task("mourn", link=task("echo"), link_error=task("echo")),
            task("mourn", "about", options={"queue": "high_priority"}),
            task("mourn_badly"),
            task("mourn_late"),
            task("echo"),
            task("shape", 7, immutable=True),
            {"chain": [task("echo"), task("shape", 2)]},
        ],
    }
    async with deployment.worker(pool):
        answer = await submit(gateway, failing)
        told = await ends(gateway, answer)

    canvas = answer["canvas"]
    alone, about, badly, late, echo, immutable, chain = canvas["link_error"]
    failed = canvas["id"]
    seen = ["RuntimeError", "no", True]
    assert told[alone["id"]]["result"] == [failed, *seen]
    assert told[about["id"]]["result"] == [failed, *seen, "about"]
    assert told[badly["id"]]["state"] == "FAILURE"
    assert told[badly["id"]]["error"]["type"] == "KeyError"
    assert told[late["id"]]["result"] == [failed, *seen]
    assert told[alone["id"]]["task"] == "demo.mourn"
    assert told[alone["id"]]["started_at"]
    assert told[echo["id"]]["result"] == failed
    assert told[immutable["id"]]["result"] == {"k": 7, "of": []}
    assert told[chain["chain"][1]["id"]]["result"] == {"k": 2, "of": [failed]}
    unneeded = [alone["link"][0], alone["link_error"][0], *canvas["link"][0]["chain"]]
    unneeded.append(canvas["link"][0]["chain"][1]["link"][0])
    for one in unneeded:
        assert told[one["id"]]["state"] == "REVOKED", one
        assert told[one["id"]]["error"]["type"] == "NotNeeded"


LINKED: dict[str, Any] = {"link": task("echo"), "link_error": task("echo")}
CANVASES: dict[str, dict[str, Any]] = {
    "success": add(1, 1, **LINKED),
    "failure": {**FAIL, **LINKED},
    "chain behind a failure": {"chain": [{**FAIL, **LINKED}, add(1, **LINKED), add(2, **LINKED)]},
    "chord whose header fails": {
        "chord": {"header": [add(1, 1, **LINKED), {**FAIL, **LINKED}], "body": total(**LINKED)}
    },
    "group as the body of a chord whose header fails": {
        "chord": {
            "header": [add(1, 1), FAIL],
            "body": {"group": [total(**LINKED), {"chain": [total(), add(1, **LINKED)]}]},
        }
    },
    "chord as the body of a chord whose header fails": {
        "chord": {
            "header": [add(1, 1), FAIL],
            "body": {"chord": {"header": [total(**LINKED)], "body": total(**LINKED)}},
        }
    },
    "links of links": add(
        1,
        1,
        link=add(1, **LINKED),
        link_error={"chain": [task("echo", **LINKED), {"group": [task("echo", **LINKED)]}]},
    ),
    "chord behind a link": {
        **FAIL,
        "link": {"chord": {"header": [task("echo"), task("echo")], "body": task("echo")}},
    },
    "errback that is a chord": {
        **FAIL,
        "link_error": {"chord": {"header": [task("echo"), task("echo")], "body": task("echo")}},
    },
}


async def test_every_id_of_a_receipt_ends(deployment, gateway):
    async with deployment.worker():
        for name, canvas in CANVASES.items():
            answer = await submit(gateway, canvas)
            told = await ends(gateway, answer)

            open_ = [one for one in told.values() if one.get("state", "PENDING") == "PENDING"]
            assert not open_, name
            for one in told.values():
                assert one["state"] != "REVOKED" or one["error"]["type"] == "NotNeeded", name


async def test_errbacks_of_a_chords_body_are_called_when_its_header_fails(deployment, gateway):
    body = total(link_error=[task("mourn"), task("echo")], link=task("echo"))
    async with deployment.worker():
        answer = await submit(gateway, {"chord": {"header": [add(1, 1), FAIL], "body": body}})
        told = await ends(gateway, answer)

    tree = answer["canvas"]["chord"]["body"]
    failed = answer["canvas"]["chord"]["header"][1]["id"]
    assert told[tree["id"]]["state"] == "FAILURE"
    assert told[tree["id"]]["error"]["type"] == "ChordError"
    assert told[tree["id"]]["error"]["message"] == f"Dependency {failed} raised RuntimeError('no')"
    mourn, echo = tree["link_error"]
    assert told[mourn["id"]]["result"][:2] == [tree["id"], "ChordError"]
    assert told[echo["id"]]["result"] == tree["id"]
    assert told[tree["link"][0]["id"]]["state"] == "REVOKED"


async def test_links_of_a_revoked_task_end(deployment, gateway):
    await deployment.rest()
    answer = await submit(gateway, add(1, 1, **LINKED))
    assert (await gateway.delete(f"/v1/tasks/{answer['id']}")).status == 202
    async with deployment.worker():
        told = await ends(gateway, answer)

    assert {one["state"] for one in told.values()} == {"REVOKED"}


async def test_an_errback_that_was_revoked_is_not_called(deployment, gateway):
    await deployment.rest()
    answer = await submit(gateway, {**FAIL, "link_error": [task("mourn"), task("mourn")]})
    first, second = answer["canvas"]["link_error"]
    assert (await gateway.delete(f"/v1/tasks/{first['id']}")).status == 202
    async with deployment.worker():
        assert (await state(gateway, second["id"]))["state"] == "SUCCESS"
        assert (await state(gateway, first["id"]))["state"] == "REVOKED"


@pytest.mark.parametrize("untracked", [False, True])
async def test_links_of_a_task_that_the_broker_ended_end(deployment, gateway, untracked):
    await deployment.rest()
    options = {"expires": 0.3, "ignore_result": untracked}
    canvas = {"chain": [add(1, 2, options=options, **LINKED), add(1, **LINKED)]}
    answer = await submit(gateway, canvas)
    told = await ends(gateway, answer)  # no worker is there: it expires

    first, second = answer["canvas"]["chain"]
    assert told[second["id"]]["state"] == "REVOKED"
    for linked in (first["link"], first["link_error"], second["link"], second["link_error"]):
        assert told[linked[0]["id"]]["error"]["type"] == "NotNeeded"
