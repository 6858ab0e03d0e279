"""/healthz, /readyz and /metrics of the real application."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis.asyncio
from prometheus_client.parser import text_string_to_metric_families

from devstack.proxy import TcpProxy
from gateway.api import parts
from gateway.config import GatewayConfig
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually


@pytest.fixture
def config(amqp_url, redis_url):
    return GatewayConfig(amqp_url=amqp_url, redis_url=redis_url)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def metrics(client: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return samples(await answer.text())


async def test_a_ready_gateway_says_so_check_by_check(config):
    async with running_gateway(config) as client:
        async with client.get("/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})

        async with client.get("/readyz") as answer:
            body = await answer.json()

        assert answer.status == 200
        assert body["status"] == "ok"
        assert {"rabbitmq", "topology", "redis", "draining"} <= body["checks"].keys()
        assert all(check["ok"] for check in body["checks"].values())
        assert answer.headers["X-Request-Id"]


async def test_redis_away_is_degraded_and_still_ready(config, redis_server):
    async with TcpProxy(redis_server.port) as proxy:
        url = f"redis://:{redis_server.password}@127.0.0.1:{proxy.port}/0"
        async with running_gateway(config, redis_url=url) as client:
            await eventually(lambda: ready_status(client, 200, "ok"))
            proxy.cut(refuse=True)

            body = await eventually(lambda: ready_status(client, 200, "degraded"))
            assert not body["checks"]["redis"]["ok"]
            assert body["checks"]["rabbitmq"]["ok"]
            assert redis_server.password not in str(body)

            proxy.resume()
            await eventually(lambda: ready_status(client, 200, "ok"))


async def test_a_full_redis_is_told_and_what_does_not_need_it_goes_on(config, redis_server):
    async with running_gateway(config) as client, redis.asyncio.from_url(redis_server.url) as full:

        async def asked(method: str, path: str, **options: Any) -> tuple[int, Any]:
            async with client.request(method, path, **options) as answer:
                text = await answer.read()
                return answer.status, orjson.loads(text) if text else None

        await eventually(lambda: ready_status(client, 200, "ok"))
        schedule = {"task": "demo.add", "args": [1, 2], "every": 3600}
        assert (await asked("PUT", "/v1/schedules/before", json=schedule))[0] == 201
        task = {"task": "demo.add", "args": [1, 2]}
        await full.config_set("maxmemory", 1)
        try:
            body = await eventually(lambda: ready_status(client, 200, "degraded"))
            assert body["checks"]["redis"]["detail"].startswith("is full: ")
            status, accepted = await asked("POST", "/v1/tasks", json=task)
            assert status == 202
            task_path = f"/v1/tasks/{accepted['id']}"
            assert (await asked("GET", task_path))[1]["state"] == "PENDING"
            once = {"Idempotency-Key": "once"}
            refused = [
                await asked("POST", "/v1/tasks", json=task, headers=once),
                await asked("PUT", "/v1/schedules/more", json=schedule),
                await asked("DELETE", task_path),
            ]
            assert {(status, problem["code"]) for status, problem in refused} == {
                (503, "state-unavailable")
            }
            assert all("is full" in problem["detail"] for _, problem in refused)
            async with client.ws_connect(
                f"/v1/stream?ids={accepted['id']}", protocols=["penstock.v1"]
            ) as socket:
                assert (await socket.receive_json(timeout=5))["state"] == "PENDING"
            assert await asked("DELETE", "/v1/schedules/before") == (204, None)
        finally:
            await full.config_set("maxmemory", 0)

        await eventually(lambda: ready_status(client, 200, "ok"))
        assert (await asked("POST", "/v1/tasks", json=task, headers=once))[0] == 202


async def ready_status(client: Any, status: int, word: str) -> Any:
    async with client.get("/readyz") as answer:
        body = await answer.json()
        return body if (answer.status, body["status"]) == (status, word) else None


async def test_rabbitmq_away_is_unavailable_and_live(config):
    nobody = "amqp://guest:guest@127.0.0.1:1/"
    async with running_gateway(config, amqp_url=nobody, ready=False) as client:
        async with client.get("/readyz") as answer:
            body = await answer.json()
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert body["status"] == "unavailable"
        check = body["checks"]["rabbitmq"]
        assert (check["ok"], check["detail"].partition(":")[0]) == (False, "disconnected")
        assert not body["checks"]["topology"]["ok"]

        async with client.get("/healthz") as answer:
            assert answer.status == 200


async def test_a_conflicting_queue_is_named_by_readyz_and_by_refusals(
    config, amqp_url, tmp_path: Path
):
    async with running_gateway(config):
        pass  # declares the layout that ships
    shipped = (Path(__file__).parents[2] / "topology" / "default.toml").read_text()
    changed = tmp_path / "changed.toml"
    changed.write_text(shipped.replace("[queues.default]", "[queues.default]\ndelivery_limit = 7"))

    async with running_gateway(config, topology_file=changed, ready=False) as client:

        async def told() -> bool:
            async with client.get("/readyz") as answer:
                check = (await answer.json())["checks"]["topology"]
                return answer.status == 503 and "'default'" in check["detail"] and check["detail"]

        detail = await eventually(told, timeout_s=10)
        for word in (str(changed), "'default'", "x-delivery-limit", "20", "7", "topology apply"):
            assert word in detail
        for path in ("/v1/tasks", "/v1/ingest/readings"):
            async with client.post(path, json={"task": "demo.echo", "args": [1]}) as answer:
                problem = await answer.json()
            assert (answer.status, problem["code"]) == (503, "topology-conflict")
            assert problem["queued"] == "no"
            for word in ("'default'", "x-delivery-limit", "20", "7", 'owner = "app"'):
                assert word in problem["detail"]
            assert str(changed) not in problem["detail"]
            assert path != "/v1/tasks" or problem["conflicts"] == [
                {
                    "kind": "queue", "name": "default", "argument": "x-delivery-limit",
                    "wanted": "7", "live": "20",
                }
            ]  # fmt: skip
            assert "Retry-After" in answer.headers


async def test_a_draining_gateway_is_not_ready(config):
    async with running_gateway(config) as client:
        client.app[parts.INTAKE].drain.started = True

        async with client.get("/readyz") as answer:
            told = await answer.json()
            assert (answer.status, told["status"]) == (503, "draining")
            assert told["checks"]["draining"] == {"ok": False, "detail": "yes"}
            assert "Retry-After" in answer.headers


async def test_a_gateway_that_will_drain_is_not_ready_and_serves_everything(config):
    async with running_gateway(config) as client:
        client.app[parts.INTAKE].drain.announced = True

        async with client.get("/readyz") as answer:
            told = await answer.json()
            assert (answer.status, told["status"]) == (503, "draining")
            assert told["checks"]["draining"] == {"ok": False, "detail": "soon"}
        task = {"task": "demo.add", "args": [1, 2]}
        async with client.post("/v1/tasks", json=task) as answer:
            assert answer.status == 202
            assert answer.headers["Connection"] == "close"
            task_id = (await answer.json())["id"]
        async with client.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
            await socket.send_json({"op": "subscribe", "ids": [task_id]})
            assert (await socket.receive_json(timeout=10))["state"] == "PENDING"


async def test_requests_and_publishes_are_counted(config):
    async with running_gateway(config) as client:
        for _ in range(3):
            async with client.post(
                "/v1/tasks", json={"task": "demo.add", "args": [1, 2]}
            ) as answer:
                assert answer.status == 202
        async with client.post("/v1/tasks", json={"task": "no.such"}) as answer:
            assert answer.status == 404
        async with client.get("/v1/nowhere/at/all") as answer:
            assert answer.status == 404
        async with client.request("PROPFIND", "/v1/nowhere") as answer:
            assert answer.status == 404

        found = await metrics(client)

    def requests(route: str, method: str, status: str) -> float:
        labels = (("method", method), ("route", route), ("status", status))
        return found["penstock_http_requests_total", labels]

    assert requests("/v1/tasks", "POST", "202") == 3
    assert requests("/v1/tasks", "POST", "404") == 1
    assert requests("unmatched", "GET", "404") == 1
    assert requests("unmatched", "other", "404") == 1
    assert found["penstock_publishes_total", (("outcome", "confirmed"),)] == 3
    assert found["penstock_confirm_seconds_count", ()] == 3
    assert found["penstock_http_request_seconds_count", (("route", "/v1/tasks"),)] == 4
    assert found["penstock_refusals_total", (("code", "unknown-task"),)] == 1
    assert found["penstock_publisher_state", (("state", "ready"),)] == 1
    assert found["penstock_http_requests_in_flight", ()] == 1


async def test_queue_depths_dead_letters_and_delay_levels_are_gauges(config):
    async with running_gateway(config) as client:
        delayed = {"task": "demo.add", "args": [1, 2], "options": {"countdown": 3000}}
        for body in ({"task": "demo.add", "args": [1, 2]}, delayed):
            async with client.post("/v1/tasks", json=body) as answer:
                assert answer.status == 202

        async def counted() -> bool:
            found = await metrics(client)
            levels = sum(
                value for (name, _), value in found.items() if name.startswith("penstock_delay")
            )
            return (
                found.get(("penstock_queue_messages", (("queue", "default"),))) == 1
                and found.get(("penstock_dead_letters", (("queue", "default"),))) == 0
                and found.get(("penstock_dead_letters", (("queue", "unrouted"),))) == 0
                and levels == 1
            )

        await eventually(counted, timeout_s=25)


async def test_metrics_need_admin_unless_made_public(config, tmp_path: Path):
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "".join(
            f'[[key]]\nname = "{scope}"\nsha256 = "{sha256(scope.encode()).hexdigest()}"\n'
            f'scopes = ["{scope}"]\n'
            for scope in ("read", "admin")
        )
    )

    async def statuses(**changes: Any) -> list[int]:
        async with running_gateway(config, ready=False, keys_file=keys, **changes) as client:
            found = []
            for key in (None, "read", "admin"):
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                async with client.get("/metrics", headers=headers) as answer:
                    found.append(answer.status)
            return found

    assert await statuses() == [401, 403, 200]
    assert await statuses(metrics_public=True) == [200, 200, 200]


async def test_nothing_secret_is_in_the_metrics(config, redis_server):
    async with running_gateway(config) as client, client.get("/metrics") as answer:
        text = await answer.text()

    assert redis_server.password not in text
    assert not re.search(r"amqps?://", text)
