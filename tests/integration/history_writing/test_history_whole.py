"""From a task that fails to the same task run again: gateway, worker, history, and back."""

from typing import Any

import pytest

from gateway.api import parts
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.fixture
async def gateway(make_gateway, history, config):
    return await make_gateway(history_url=f"http://127.0.0.1:{config.port}")


async def call(gateway: Any, method: str, path: str, body: Any = None) -> Any:
    async with gateway.request(method, path, json=body) as response:
        answer = await response.json()
        assert response.status < 300, answer
        return answer


async def test_what_failed_is_found_and_run_again(gateway, amqp_url, redis_url, tmp_path):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    words = [f"no data for 'city{n}' in row {n}" for n in range(6)]
    submitted = [
        await call(gateway, "POST", "/v1/tasks", {
            "task": "demo.permanent", "args": [text],
            "options": {"headers": {"colour": "red"}, "time_limit": 60},
        })
        for text in words
    ]  # fmt: skip
    ids = {one["id"] for one in submitted}

    async def listed(count: int, **filters: str) -> list[Any]:
        async def there() -> list[Any]:
            found = (await call(gateway, "GET", f"/v1/tasks?{_query(filters)}"))["tasks"]
            assert len(found) == count, found
            return list(found)

        rows: list[Any] = await eventually(there, 15, 0.1)
        return rows

    assert {one["id"] for one in await listed(6, state="PENDING")} == ids
    async with deployment.worker("asyncio"):
        rows = await listed(6, state="FAILURE", q="data row")
        assert {one["id"] for one in rows} == ids
        assert all(one["waited_s"] > 0 and one["queue"] == "default" for one in rows)
        [one] = await listed(1, q="CITY3 permanent", error="PermanentError")

        async def grouped() -> Any:
            groups = (await call(gateway, "GET", "/v1/failures"))["failures"]
            assert [(one["count"], sum(one["per_hour"])) for one in groups] == [(6, 6)]
            return groups[0]

        group = await eventually(grouped, 15, 0.1)
        assert group["failure"] == one["failure"]
        assert group["example"] in ids
        shown = await call(gateway, "GET", f"/v1/tasks/{one['id']}?with=request")
        assert shown["request"]["args"] == [words[3]]
        assert shown["request"]["options"]["headers"] == {"colour": "red"}

        body = {"where": {"failure": group["failure"]}, "rate": 100}
        begun = await call(gateway, "POST", "/v1/tasks/retry", body)
        assert (begun["matched"], begun["without_request"]) == (6, 0)
        rows = await listed(12, state="FAILURE")
        again = {one["retried_from"]: one for one in rows if "retried_from" in one}
        assert again.keys() == ids
        child = again[one["id"]]
        told = await call(gateway, "GET", f"/v1/tasks/{child['id']}/timeline")
        assert [each["state"] for each in told["changes"]] == ["PENDING", "STARTED", "FAILURE"]
        assert told["changes"][2]["error"]["message"] == words[3]

        async def requested() -> Any:  # another stream than that of its states
            shown = await call(gateway, "GET", f"/v1/tasks/{child['id']}?with=request")
            return shown.get("request")

        request = await eventually(requested, 15, 0.1)
        assert request["args"] == [words[3]]
        assert request["options"]["headers"] == {"colour": "red"}
        operation = await call(gateway, "GET", f"/v1/operations/{begun['operation']}")
        assert (operation["state"], operation["done"], operation["failed"]) == ("done", 6, 0)
    lag = await gateway.app[parts.OPERATING].problems._of_history()
    assert lag == []


async def test_a_failure_with_a_long_message_is_found_like_any_other(
    gateway, amqp_url, redis_url, tmp_path
):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    words = "no data", "データがない"
    texts = [f"{words[0]} " * 6_050, f"{words[1]} " * 1_200]
    ids = [
        (await call(gateway, "POST", "/v1/tasks", {"task": "demo.permanent", "args": [text]}))["id"]
        for text in texts
    ]

    async def grouped() -> Any:
        groups = (await call(gateway, "GET", "/v1/failures"))["failures"]
        assert {one["example"] for one in groups} == set(ids), groups
        return groups

    async with deployment.worker("asyncio"):
        groups = await eventually(grouped, 15, 0.1)
    assert {one["error"]["type"] for one in groups} == {"PermanentError"}
    for task_id, word, text in zip(ids, words, texts, strict=True):
        [one] = (await call(gateway, "GET", f"/v1/tasks?{_query({'q': word})}"))["tasks"]
        assert (one["id"], one["error"]["message"]) == (task_id, text[:4096])
        told = await call(gateway, "GET", f"/v1/tasks/{task_id}/timeline")
        assert told["changes"][-1]["error"]["message"] == text[:500]


def _query(filters: dict[str, str]) -> str:
    return "&".join(f"{name}={value.replace(' ', '+')}" for name, value in filters.items())
