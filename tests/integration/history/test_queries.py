"""GET /v1/tasks, /timeline, ?with=request and /v1/failures, on a real MongoDB."""

import json
import random
import time
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest

from gateway.api import parts
from penstock.wire.keys import TaskKeys
from tests.deployment.history import RunningHistory, running_history
from tests.support.history_documents import NOW, counted, document, failed

STATES = ("PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED")


@pytest.fixture
async def gateway(make_watching_gateway, history: RunningHistory):
    return await make_watching_gateway(**history.fields)


async def get(gateway: Any, path: str, status: int = 200, **options: Any) -> Any:
    async with gateway.get(path, **options) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def listed(gateway: Any, headers: Any = None, **filters: Any) -> list[str]:
    answer = await get(gateway, "/v1/tasks", params={"limit": 500, **filters}, headers=headers)
    return [one["id"] for one in answer["tasks"]]


# ── filters ──

TASKS = ("reports.build", "reports.send", "a+b.(c)", "demo[1].x", "été.œuvre", "reportsXbuild")
GLOBS = (
    "reports.*", "*build", "*", "reports.build", "report?.build", "a+b.(*", "demo[[]1].x",
    "[!r]*", "été.*", "reports.[a-c]*", "none", "[", "demo[1].x", "*.*", "re*.*d",
)  # fmt: skip
MESSAGES = ("no data for 'Oslo'", "timeout after 30 s", "Übergröße: 12", "", "x" * 60)
QUERIES = ("oslo", "no data", "30 timeout", "übergröße", "reports", "x" * 60, "a", "Oslo's")


def some_tasks(count: int, seed: int) -> list[dict[str, Any]]:
    pick = random.Random(seed)
    found = []
    for n in range(count):
        state = pick.choice(STATES)
        error = {}
        if state in {"FAILURE", "RETRY"}:
            kind = pick.choice(("ValueError", "KeyError"))
            error = {"error": {"type": kind, "message": pick.choice(MESSAGES)}}
        found.append(
            document(
                f"t{n:04}",
                task=pick.choice(TASKS),
                tenant=pick.choice(("acme", "other", None)),
                state=state,
                queue=pick.choice(("default", "ranked")),
                worker=pick.choice(("celery@w1", "celery@w2")),
                root=f"t{pick.randrange(count):04}",
                at=NOW - timedelta(seconds=pick.randrange(600)),
                **error,
            )
        )
    return found


def matches(one: dict[str, Any], filters: dict[str, str]) -> bool:
    """Say in Python what a filter means."""
    error = one.get("error") or {}
    words = set(one["words"])
    checks = {
        "state": lambda value: one["state"] in value.split(","),
        "task": lambda value: fnmatchcase(one["task"], value),
        "queue": lambda value: one["queue"] == value,
        "worker": lambda value: one["worker"] == value,
        "error": lambda value: error.get("type") == value,
        "failure": lambda value: one.get("failure") == value,
        "root": lambda value: one["root"] == value,
        "since": lambda value: one["at"] >= datetime.fromisoformat(value),
        "until": lambda value: one["at"] < datetime.fromisoformat(value),
        "q": lambda value: all(
            word[:40] in words for word in value.lower().replace("'", " ").split()
        ),
    }
    return all(checks[name](value) for name, value in filters.items() if value)


def some_filters(pick: random.Random) -> dict[str, str]:
    """Return random filters, each there one time in four."""

    def ago(low: int, high: int) -> str:
        return (NOW - timedelta(seconds=pick.randint(low, high))).isoformat()

    every = {
        "state": ",".join(pick.sample(STATES, pick.randint(1, 3))),
        "task": pick.choice(GLOBS),
        "queue": pick.choice(("default", "ranked", "")),
        "worker": pick.choice(("celery@w1", "nobody")),
        "error": pick.choice(("ValueError", "KeyError", "Error")),
        "q": pick.choice(QUERIES),
        "since": ago(300, 600),
        "until": ago(0, 300),
    }
    return {name: value for name, value in every.items() if pick.random() < 0.25}


async def test_filters_mean_what_they_mean_in_python(gateway, history):
    tasks = some_tasks(400, 7)
    await history.database.tasks.insert_many(tasks)
    pick = random.Random(11)
    newest = sorted(tasks, key=lambda one: (one["at"], one["_id"]), reverse=True)
    examples: list[dict[str, str]] = [{"task": glob} for glob in GLOBS]
    examples += [{"q": words} for words in QUERIES] + [{"root": "t0003"}]
    examples += [{"failure": one} for one in {str(one.get("failure", "")) for one in tasks}]
    examples += [some_filters(pick) for _ in range(120)]
    hits = 0
    for filters in examples:
        expected = [one["_id"] for one in newest if matches(one, filters)]
        assert await listed(gateway, **filters) == expected, filters
        hits += bool(expected)
    assert hits > 60


# ── pages ──


async def test_pages_skip_nothing_and_repeat_nothing_while_tasks_are_added(gateway, history):
    tasks = history.database.tasks
    there = [
        document(f"t{n:04}", at=NOW - timedelta(seconds=n // 7))  # many of one moment
        for n in range(300)
    ]
    await tasks.insert_many(there)
    seen: list[str] = []
    cursor = ""
    for page in range(100):
        answer = await get(gateway, "/v1/tasks", params={"limit": 17, "cursor": cursor})
        seen += [one["id"] for one in answer["tasks"]]
        newer = [document(f"n{page:03}-{n}", at=NOW + timedelta(seconds=1)) for n in range(5)]
        await tasks.insert_many(newer)
        cursor = answer["next"]
        if cursor is None:
            break
    assert seen == sorted(seen, key=lambda one: (int(one[1:]) // 7, -int(one[1:])))
    assert sorted(seen) == [one["_id"] for one in there]


# ── whose ──


async def test_a_key_sees_its_own_tenant_and_admin_sees_all(make_keyed_gateway, history):
    gateway = await make_keyed_gateway(**history.fields)
    mine = gateway.app[parts.ACCESS].task_ids.issue("acme")
    tasks = [
        failed(mine, "[1]", tenant="acme", changes=[change(NOW, "FAILURE")]),
        failed("theirs", "[2]", tenant="other"),
        failed("nobodys", "[3]", tenant=None),
    ]
    await history.database.tasks.insert_many(tasks)
    await history.database.failures.insert_many(counted(tasks))
    reader, root = gateway.as_("reader"), gateway.as_("root")

    assert await listed(gateway, headers=reader) == [mine]
    assert sorted(await listed(gateway, headers=root)) == sorted([mine, "theirs", "nobodys"])
    [own] = (await get(gateway, "/v1/failures", headers=reader))["failures"]
    [all_] = (await get(gateway, "/v1/failures", headers=root))["failures"]
    assert (own["count"], own["example"], sum(own["per_hour"])) == (1, mine, 1)
    assert (all_["count"], all_["failure"]) == (3, own["failure"])
    for path in ("/v1/tasks/theirs/timeline", "/v1/tasks/nobodys?with=request"):
        assert (await get(gateway, path, 404, headers=reader))["code"] == "unknown-task-id"
    shown = await get(gateway, "/v1/tasks/theirs?with=request", headers=root)
    assert shown["request"]["args"] == [2]
    assert shown["error"]["traceback"] == "Traceback …"
    [listed_] = (await get(gateway, "/v1/tasks", headers=reader))["tasks"]
    assert "traceback" not in listed_["error"]
    for verb in ("retry", "revoke"):
        async with gateway.post(
            f"/v1/tasks/{verb}", json={"ids": [mine]}, headers=reader
        ) as response:
            assert response.status == 403


# ── one task ──


def change(at: datetime, state: str, **members: Any) -> dict[str, Any]:
    return {"c": f"{int(at.timestamp() * 1000)}-0", "state": state, "at": at, **members}


async def test_a_task_is_told_whole_also_when_its_record_is_gone(gateway, history, issue_for):
    task_id = issue_for(gateway)
    text = '[1e2, 12345678901234567890, "\\u00e9"]'
    changes = [
        change(NOW, "STARTED", attempt=0, worker="celery@w1"),
        change(NOW, "FAILURE", attempt=0, worker="celery@w1",
               error={"type": "RuntimeError", "message": "no luck"}),
    ]  # fmt: skip
    one = failed(task_id, text, changes=changes, retries=0, started_at=NOW)
    await history.database.tasks.insert_one(one)

    async with gateway.get(f"/v1/tasks/{task_id}?with=request") as response:
        raw = await response.text()
    assert f'"args":{text}' in raw  # to the octet
    assert json.loads(raw)["state"] == "PENDING"  # of Redis, which knows nothing yet
    told = await get(gateway, f"/v1/tasks/{task_id}/timeline")
    assert [one["state"] for one in told["changes"]] == ["PENDING", "STARTED", "FAILURE"]
    assert told["changes"][2]["worker"] == "celery@w1"
    assert told["changes"][2]["error"] == {"type": "RuntimeError", "message": "no luck"}

    await gateway.app[parts.REDIS].set(ended_key(task_id), b"FAILURE", keep_s=60)
    assert (await get(gateway, f"/v1/tasks/{task_id}", 410))["code"] == "result-expired"
    shown = await get(gateway, f"/v1/tasks/{task_id}?with=request")
    assert (shown["state"], shown["error"]["message"]) == ("FAILURE", "no luck")
    assert shown["request"]["options"] == {"queue": "default"}
    assert len((await get(gateway, f"/v1/tasks/{task_id}/timeline"))["changes"]) == 3


def ended_key(task_id: str) -> str:
    return TaskKeys.of(task_id).ended


async def test_a_task_that_history_has_not_seen_yet_waits(gateway, issue_for):
    task_id = issue_for(gateway)
    [only] = (await get(gateway, f"/v1/tasks/{task_id}/timeline"))["changes"]
    assert only["state"] == "PENDING"
    assert "request" not in await get(gateway, f"/v1/tasks/{task_id}?with=request")


@pytest.fixture
def issue_for():
    return lambda gateway: gateway.app[parts.ACCESS].task_ids.issue("anonymous")


# ── failures ──


async def test_failures_are_grouped_and_counted_to_the_second(gateway, history):
    hour = NOW.replace(minute=0, second=0)
    tasks = [
        failed(
            f"f{n:04}",
            "[]",
            task="reports.build" if n % 3 else "demo.add",
            error={"type": "ValueError", "message": f"row {n} of 'a{n}'"},
            at=hour - timedelta(minutes=7 * n),
        )
        for n in range(400)
    ]
    await history.database.tasks.insert_many(tasks)
    await history.database.failures.insert_many(counted(tasks))

    def expected(since: datetime, until: datetime, task: str) -> int:
        return sum(since <= one["ended_at"] < until and one["task"] == task for one in tasks)

    day = hour - timedelta(hours=23), NOW + timedelta(hours=1)
    spans = [
        (day, {}),
        ((NOW - timedelta(minutes=97), day[1]), {"since": NOW - timedelta(minutes=97)}),
        (  # one of its hours is cut, the other is not
            (hour - timedelta(minutes=90), hour),
            {"since": hour - timedelta(minutes=90), "until": hour},
        ),
        (
            (NOW - timedelta(hours=40, minutes=13), NOW - timedelta(minutes=31, seconds=5)),
            {
                "since": NOW - timedelta(hours=40, minutes=13),
                "until": NOW - timedelta(minutes=31, seconds=5),
            },
        ),
    ]
    for (since, until), bounds in spans:
        query = {name: value.isoformat() for name, value in bounds.items()}
        found = (await get(gateway, "/v1/failures", params=query))["failures"]
        counts = {one["task"]: one["count"] for one in found}
        for task in ("reports.build", "demo.add"):
            assert counts.get(task, 0) == expected(since, until, task), (bounds, task)
        by_count = [one["count"] for one in found]
        assert by_count == sorted(by_count, reverse=True)
        first = await get(gateway, "/v1/failures", params={**query, "limit": "1"})
        assert first["failures"] == found[:1]
        assert first["total"] == sum(by_count)
        assert first.get("not_shown", 0) == len(found) - 1
    [one] = (await get(gateway, "/v1/failures", params={"task": "reports.*"}))["failures"]
    assert len(one["per_hour"]) == 24
    assert sum(one["per_hour"]) == one["count"]
    page = await get(gateway, "/v1/tasks", params={"failure": one["failure"], "limit": 500})
    assert one["example"] in {each["id"] for each in page["tasks"]}
    assert one["last_at"] == max(each["finished_at"] for each in page["tasks"])


async def test_of_many_groups_in_a_cut_hour_those_with_the_most_are_counted(gateway, history):
    hour = NOW.replace(minute=0, second=0) - timedelta(hours=3)
    before, after = hour + timedelta(minutes=20), hour + timedelta(minutes=40)
    tasks = [
        failed(f"{group}-{when:%M}-{n}", "[]", failure=group, at=when)
        for group, times in (*((f"a{number:03}", 1) for number in range(510)), ("most", 9))
        for when in (before, after)
        for n in range(times)
    ]
    await history.database.tasks.insert_many(tasks)
    await history.database.failures.insert_many(counted(tasks))

    span = {"since": hour + timedelta(minutes=30), "until": hour + timedelta(hours=1)}
    query = {name: value.isoformat() for name, value in span.items()}
    first = (await get(gateway, "/v1/failures", params=query))["failures"][0]

    assert (first["failure"], first["count"]) == ("most", 9)


async def test_nothing_but_history_is_missing_while_history_is(make_watching_gateway, mongo_url):
    off = await make_watching_gateway()
    answer = await get(off, "/v1/tasks", 503)
    assert (answer["code"], "HISTORY_URL" in answer["detail"]) == ("history-unavailable", True)
    async with running_history(mongo_url) as history:
        gateway = await make_watching_gateway(**history.fields)
        stranger = await make_watching_gateway(history_url=history.url, history_secret="no")
        assert await get(gateway, "/v1/tasks") == {"tasks": [], "next": None}
        answer = await get(stranger, "/v1/tasks", 503)
        assert "HISTORY_SECRET" in answer["detail"]
        await history.stop()
        task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
        for path in ("/v1/tasks", "/v1/failures", f"/v1/tasks/{task_id}/timeline",
                     f"/v1/tasks/{task_id}?with=request"):  # fmt: skip
            started = time.monotonic()
            async with gateway.get(path) as response:
                assert (response.status, "Retry-After" in response.headers) == (503, True)
                assert (await response.json())["code"] == "history-unavailable"
            assert time.monotonic() - started < 3
        assert (await get(gateway, f"/v1/tasks/{task_id}"))["state"] == "PENDING"
        port = int(history.url.rpartition(":")[2])
        async with running_history(mongo_url, port):  # back: no restart
            assert await get(gateway, "/v1/tasks") == {"tasks": [], "next": None}


async def test_a_history_that_lags_or_is_away_is_a_problem(
    make_watching_gateway, history, history_url
):
    gateway = await make_watching_gateway(**history.fields)
    looks, client = gateway.app[parts.OPERATING].problems, gateway.app[parts.HISTORY]

    async def found() -> list[str]:
        await looks.looper.once()
        problems = (await get(gateway, "/v1/problems"))["problems"]
        assert {(one["code"], one["subject"]) for one in problems} <= {
            ("history-behind", "history")
        }
        return [one["detail"] for one in problems]

    assert await found() == []
    history.lag_s = 31.0
    assert await found() == ["what is written into history happened 31 s ago"]
    history.lag_s = 0.1
    assert await found() == []
    await history.stop()
    assert await found() == []  # not for long enough
    client.away_since -= 15
    [detail] = await found()
    assert "has not answered for 15 s" in detail
    async with running_history(history_url, int(history.url.rpartition(":")[2])):
        assert await found() == []
