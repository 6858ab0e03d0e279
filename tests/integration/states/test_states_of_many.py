"""POST /v1/tasks/status, against a real Redis."""

import json

import pytest

from gateway.api import parts
from gateway.states.reading import READ_BUDGET_BYTES


async def test_many_states_are_read_in_one_round_trip_and_in_order(watching, issue, worker):
    ids = [issue() for _ in range(997)]
    for task_id in ids[::100]:
        await worker.succeed(task_id)
    untracked = issue(tracked=False)
    asked = [*ids, ids[0], untracked, "unknown id"]
    await worker.client.config_resetstat()
    response = await watching.post("/v1/tasks/status", json={"ids": asked})
    stats = await worker.client.info("commandstats")
    tasks = (await response.json())["tasks"]

    assert [task["id"] for task in tasks] == asked
    assert tasks[-1] == {"id": "unknown id", "code": "unknown-task-id"}
    assert tasks[-2]["tracked"] is False
    assert tasks[-3] == tasks[0]
    assert sum(task.get("state") == "SUCCESS" for task in tasks) == 11
    reads = sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))
    assert reads <= 2  # the second when the script had to be loaded first


async def test_states_beyond_the_memory_budget_are_streamed(watching, issue, worker):
    ids = [issue() for _ in range(6)]
    value = "z" * (READ_BUDGET_BYTES // 4)
    for task_id in ids:
        await worker.succeed(task_id, value)
    response = await watching.post("/v1/tasks/status", json={"ids": [*ids, ids[0], "unknown"]})
    tasks = (await response.json())["tasks"]

    assert [task["id"] for task in tasks] == [*ids, ids[0], "unknown"]
    assert all(task["result"] == value for task in tasks[:7])
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "malformed-json"),
        ("{}", "invalid-request"),
        ('{"ids": [1]}', "invalid-request"),
        ('{"ids": [], "x": 1}', "invalid-request"),
        (json.dumps({"ids": ["a"] * 1001}), "invalid-request"),
        (b'{"ids": ["\xff"]}', "malformed-json"),
    ],
)
async def test_bad_status_requests_are_refused(watching, body, code):
    headers = {"Content-Type": "application/json"}
    response = await watching.post("/v1/tasks/status", data=body, headers=headers)

    assert response.status == 400
    assert (await response.json())["code"] == code


@pytest.mark.parametrize("path", ["/v1/tasks/status", "/v1/tickets"])
async def test_questions_of_another_media_type_are_refused(watching, path):
    response = await watching.post(path, data='{"ids": []}')

    assert (response.status, (await response.json())["code"]) == (415, "unsupported-media-type")


async def test_ended_tells_only_what_has_ended(watching, issue, worker):
    done, pending, untracked = issue(), issue(), issue(tracked=False)
    await worker.succeed(done)
    ended = await watching.app[parts.WATCHING].watch.ended([done, pending, untracked], 0.2)

    assert {task_id: state.state for task_id, state in ended.items()} == {done: "SUCCESS"}
    assert ended[done].result == b"42"
