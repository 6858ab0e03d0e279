"""GET /v1/groups/{id} of results too many to hold, against a real Redis."""

import json

import aiohttp
import pytest

from devstack.proxy import TcpProxy
from gateway.api import parts
from gateway.states.reading import READ_BUDGET_BYTES
from tests.support.memory import most_held

MIB = 1024 * 1024
LONG = READ_BUDGET_BYTES // 4
"""Octets of a result of which four do not fit in one part."""


@pytest.fixture
def keep(watching):
    """Write a group down, as a submit does; return its address."""

    async def keep(members):
        group_id = watching.app[parts.ACCESS].task_ids.issue("anonymous", group=True)
        result = [[group_id, None], members]
        await watching.app[parts.CANVASES].groups.keep(
            {group_id: result}, frozenset(), {}, 0, "anonymous"
        )
        return f"/v1/groups/{group_id}"

    return keep


def task(task_id):
    """A task as a group has it."""
    return [[task_id, None], None]


async def drained(response):
    """Read an answer and keep its last octets only; return how many there were."""
    size, end = 0, b""
    async for chunk in response.content.iter_any():
        size += len(chunk)
        end = (end + chunk)[-100:]
    return size, end


async def test_a_small_group_is_answered_in_one_piece(watching, issue, worker, keep):
    done, failed, waiting, inner = issue(), issue(), issue(), issue()
    await worker.succeed(done, {"a": 1})
    await worker.fail(failed)
    await worker.succeed(inner, 12345678901234567890123)
    path = await keep([task(done), [["g", None], [task(inner)]], task(failed), task(waiting)])
    response = await watching.get(path)
    body = await response.read()
    group_id = path.rpartition("/")[2]
    each = [await (await watching.get(f"/v1/tasks/{one}")).read()
            for one in (done, inner, failed, waiting)]  # fmt: skip

    assert int(response.headers["Content-Length"]) == len(body)
    assert body == (
        b'{"id":"%b","total":4,"completed":3,"ready":false,"successful":false,'
        b'"counts":{"SUCCESS":2,"FAILURE":1,"PENDING":1},'
        b'"results":[{"a":1},[12345678901234567890123],null,null],"tasks":[%b]}'
        % (group_id.encode(), b",".join(each))
    )


async def test_a_long_group_says_what_a_small_one_says(watching, issue, worker, keep):
    ids = [issue() for _ in range(9)]
    values = [letter * LONG for letter in "abcdef"]
    for task_id, value in zip(ids, values, strict=False):
        await worker.succeed(task_id, value)
    await worker.fail(ids[6])
    await worker.progress(ids[7], 3)
    path = await keep(
        [*map(task, ids[:3]), [["g", None], [*map(task, ids[3:5]), [["h", None], []]]],
         *map(task, ids[5:]), task(ids[0])]
    )  # fmt: skip
    response = await watching.get(path)
    told = await response.json()
    each = await (await watching.post("/v1/tasks/status", json={"ids": ids})).json()

    assert "Content-Length" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-Id"]
    assert list(told) == [
        "tasks", "id", "total", "completed", "ready", "successful", "counts", "results",
    ]  # fmt: skip
    a, b, c, d, e, f = values
    assert told["results"] == [a, b, c, [d, e, []], f, None, None, None, a]
    assert told["tasks"] == each["tasks"]
    assert told["counts"] == {"SUCCESS": 6, "FAILURE": 1, "PROGRESS": 1, "PENDING": 1}
    assert (told["total"], told["completed"]) == (9, 7)
    assert (told["ready"], told["successful"]) == (False, False)


async def test_a_group_of_any_size_takes_the_memory_of_a_part(watching, issue, worker, keep):
    ids = [issue() for _ in range(60)]
    for task_id in ids:
        await worker.succeed(task_id, "z" * MIB)
    path = await keep(list(map(task, ids)))
    with most_held() as most:
        size, end = await drained(await watching.get(path))
        held = most()

    assert held < 40 * MIB
    assert size > 120 * MIB
    assert end.endswith(b'"]}')


async def test_states_asked_for_twice_take_the_memory_of_a_part(watching, issue, worker):
    ids = [issue() for _ in range(60)]
    for task_id in ids:
        await worker.succeed(task_id, "z" * MIB)
    with most_held() as most:
        response = await watching.post("/v1/tasks/status", json={"ids": ids + ids})
        size, end = await drained(response)
        held = most()

    assert held < 40 * MIB
    assert size > 120 * MIB
    assert end.endswith(b'"}]}')


async def test_what_ends_while_a_group_is_read_is_counted_as_it_is_shown(
    watching, issue, worker, keep
):
    ids = [issue() for _ in range(12)]
    for task_id in ids[1:]:
        await worker.succeed(task_id, "z" * LONG)
    response = await watching.get(await keep(list(map(task, ids))))
    begun = await response.content.readany()
    await worker.succeed(ids[0], "late")
    told = json.loads(begun + await response.read())

    assert told["tasks"][0]["state"] == "PENDING"
    assert told["results"][0] is None
    assert (told["completed"], told["counts"]["PENDING"]) == (11, 1)


@pytest.mark.parametrize("record", [None, b'{"status":"SUCCESS","result":"another"}'])
async def test_a_result_that_changes_while_a_group_is_read_cuts_the_answer(
    watching, issue, worker, keep, record
):
    ids = [issue() for _ in range(12)]
    for task_id in ids:
        await worker.succeed(task_id, "z" * LONG)
    response = await watching.get(await keep(list(map(task, ids))))
    await response.content.readany()
    key = f"celery-task-meta-{ids[0]}"
    await (worker.client.delete(key) if record is None else worker.client.set(key, record))

    with pytest.raises(aiohttp.ClientError):
        await drained(response)


async def test_losing_redis_in_the_middle_of_a_long_group_cuts_the_answer(
    make_watching_gateway, redis_server, redis_url, worker
):
    async with TcpProxy(redis_server.port) as proxy:
        client = await make_watching_gateway(redis_url=proxy.url_through(redis_url))
        ids = [client.app[parts.ACCESS].task_ids.issue("anonymous") for _ in range(12)]
        for task_id in ids:
            await worker.succeed(task_id, "z" * LONG)
        group_id = client.app[parts.ACCESS].task_ids.issue("anonymous", group=True)
        group = {group_id: [[group_id, None], list(map(task, ids))]}
        await client.app[parts.CANVASES].groups.keep(group, frozenset(), {}, 0, "anonymous")
        response = await client.get(f"/v1/groups/{group_id}")
        await response.content.readany()
        proxy.cut(refuse=True)

        with pytest.raises(aiohttp.ClientError):
            await drained(response)


async def test_the_head_of_a_long_group_leaves_the_connection_as_it_was(
    watching, issue, worker, keep
):
    ids = [issue() for _ in range(5)]
    for task_id in ids:
        await worker.succeed(task_id, "z" * LONG)
    path = await keep(list(map(task, ids)))
    for _ in range(3):
        response = await watching.head(path)
        assert (response.status, await response.read()) == (200, b"")
        response = await watching.get(f"/v1/tasks/{ids[0]}/result")
        assert await response.json() == "z" * LONG
