"""Every route × every scope × own and foreign tenant: who gets what.

A row for each route of the application; one that is missing here, or not served any more, fails.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.api import parts
from tests.support.worker_states import announce_silent

KEYS = {
    "submit": ("acme", ["submit"]),
    "read": ("acme", ["read"]),
    "ingest": ("acme", ["ingest"]),
    "schedule": ("acme", ["schedule"]),
    "admin": ("ops", ["admin"]),
    "other": ("other", ["submit", "read", "ingest", "schedule"]),
}
"""Key → tenant and scopes. What a row asks for belongs to acme: to `admin` and `other` it is
another tenant's."""

TABLE = """
                                     no   bad
                                     key  key  submit read ingest schedule admin other
GET    /                             200  200  200    200  200    200      200   200
GET    /docs                         200  200  200    200  200    200      200   200
GET    /openapi.json                 200  200  200    200  200    200      200   200
GET    /static/{name}                404  404  404    404  404    404      404   404
GET    /healthz                      200  200  200    200  200    200      200   200
GET    /readyz                       200  200  200    200  200    200      200   200
GET    /metrics                      401  401  403    403  403    403      200   403
POST   /v1/tasks                     401  401  202    403  403    403      202   202
POST   /v1/tasks/bulk                401  401  202    403  403    403      202   202
POST   /v1/canvas                    401  401  202    403  403    403      202   202
GET    /v1/tasks                     401  401  403    503  403    403      503   503
GET    /v1/tasks/{id}/timeline       401  401  403    503  403    403      503   503
GET    /v1/failures                  401  401  403    503  403    403      503   503
POST   /v1/tasks/retry               401  401  403    403  403    403      503   403
POST   /v1/tasks/revoke              401  401  403    403  403    403      503   403
POST   /v1/tasks/status              401  401  403    200  403    403      200   none
GET    /v1/tasks/{id}                401  401  403    200  403    403      200   404
GET    /v1/tasks/{id}/result         401  401  403    202  403    403      202   404
DELETE /v1/tasks/{id}                401  401  202    403  403    403      202   404
GET    /v1/tasks/{id}/stream         401  401  403    200  403    403      200   404
GET    /v1/groups/{id}               401  401  403    410  403    403      410   404
GET    /v1/stream                    401  401  403    400  403    403      400   400
POST   /v1/tickets                   401  401  403    200  403    403      200   404
POST   /v1/ingest/{collection}       401  401  403    403  202    403      202   202
GET    /v1/schedules                 401  401  403    403  403    200      200   200
GET    /v1/schedules/{name}          401  401  403    403  403    200      200   404
PUT    /v1/schedules/{name}          401  401  403    403  403    200      200   201
DELETE /v1/schedules/{name}          401  401  403    403  403    204      204   404
POST   /v1/schedules/{name}/run      401  401  403    403  403    202      202   404
GET    /v1/topology                  401  401  403    200  403    403      200   200
POST   /v1/topology/route            401  401  403    200  403    403      200   200
GET    /v1/queues                    401  401  403    200  403    403      200   200
POST   /v1/broadcast                 401  401  403    403  403    403      422   403
GET    /v1/dead-letters/{queue}      401  401  403    403  403    403      200   403
POST   /v1/dead-letters/{queue}/replay
                                     401  401  403    403  403    403      200   403
POST   /v1/queues/{name}/pause       401  401  403    403  403    403      200   403
POST   /v1/queues/{name}/resume      401  401  403    403  403    403      200   403
POST   /v1/queues/{name}/purge       401  401  403    403  403    403      202   403
POST   /v1/dead-letters/{queue}/discard
                                     401  401  403    403  403    403      200   403
GET    /v1/operations                401  401  403    200  403    403      200   200
GET    /v1/operations/{id}           401  401  403    404  403    403      404   404
GET    /v1/key                       401  401  403    200  403    403      200   200
GET    /v1/problems                  401  401  403    200  403    403      200   200
GET    /v1/scaling/{queue}           401  401  403    200  403    403      200   200
GET    /v1/workers                   401  401  403    200  403    403      200   200
GET    /v1/workers/{name}/tasks      401  401  403    200  403    403      200   200
POST   /v1/workers/{name}/consume    401  401  403    403  403    403      202   403
POST   /v1/workers/{name}/cancel     401  401  403    403  403    403      202   403
POST   /v1/workers/{name}/pool       401  401  403    403  403    403      202   403
POST   /v1/workers/{name}/shutdown   401  401  403    403  403    403      202   403
GET    /v1/catalog                   401  401  403    200  403    403      200   200
"""
"""Allowed are all but 401, 403 and 404: `/v1/stream` is asked for without an upgrade (400), no
worker hears the broadcast (422), the group was never saved (410), there is no operation (404), the
worker `nightly` is silent and does not reply (202), there is no history (503). `none`: a 200 that
says nothing of it. A schedule is the caller's own by its name; `admin` says whose it is
(`?tenant=acme`)."""

TASK = {"task": "demo.add", "args": [1, 2]}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/tasks"): TASK,
    ("POST", "/v1/tasks/bulk"): [TASK],
    ("POST", "/v1/canvas"): {"chain": [TASK, {"task": "demo.add", "args": [1]}]},
    ("POST", "/v1/tasks/status"): {"ids": ["{id}"]},
    ("POST", "/v1/tasks/retry"): {"ids": ["{id}"]},
    ("POST", "/v1/tasks/revoke"): {"ids": ["{id}"]},
    ("POST", "/v1/tickets"): {"ids": ["{id}"]},
    ("POST", "/v1/ingest/{collection}"): {"a": 1},
    ("PUT", "/v1/schedules/{name}"): {**TASK, "every": 3600, "enabled": False},
    ("POST", "/v1/topology/route"): {"task": "demo.add"},
    ("POST", "/v1/broadcast"): TASK,
    ("POST", "/v1/dead-letters/{queue}/replay"): {"ids": ["none"]},
    ("POST", "/v1/dead-letters/{queue}/discard"): {"ids": ["none"]},
    ("POST", "/v1/workers/{name}/consume"): {"queue": "default"},
    ("POST", "/v1/workers/{name}/cancel"): {"queue": "default"},
    ("POST", "/v1/workers/{name}/pool"): {"grow": 1},
}
SCHEDULES = "/v1/schedules/{name}"


@dataclass(frozen=True)
class Row:
    """What each key gets from one route."""

    method: str
    path: str
    expected: tuple[str, ...]


def rows() -> list[Row]:
    words = TABLE.split("other\n", 1)[1].split()
    found, start = [], 0
    while start < len(words):
        found.append(Row(words[start], words[start + 1], tuple(words[start + 2 : start + 10])))
        start += 10
    return found


CALLERS: tuple[str | None, ...] = (None, "no such key", *KEYS)


@pytest.fixture
async def gateway(make_gateway, redis_url, tmp_path: Path):
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\ntenant = "{tenant}"\nscopes = {json.dumps(scopes)}\n'
            f'sha256 = "{sha256(name.encode()).hexdigest()}"\n'
            for name, (tenant, scopes) in KEYS.items()
        )
    )
    made = await make_gateway(keys_file=keys)
    announce_silent("nightly", redis_url)
    return made


def test_the_table_is_read_as_it_is_written():
    assert all(len(row.expected) == len(CALLERS) for row in rows())
    assert all(one.isdigit() or one == "none" for row in rows() for one in row.expected)


async def test_every_route_answers_each_key_as_the_table_says(gateway):
    table = rows()
    wrong = []
    served = gateway.app[parts.OPERATIONS]
    shown = {(row.method, row.path) for row in table if not row.path.startswith("/static/")}
    assert shown == {(one.method, one.path) for one in served}
    for row in table:
        for caller, expected in zip(CALLERS, row.expected, strict=True):
            got = await ask(gateway, row, caller)
            if got != expected:
                wrong.append(f"{row.method} {row.path} with {caller}: {got}, not {expected}")
    assert not wrong, "\n".join(wrong)


async def test_only_admin_names_another_tenant(gateway):
    await made(gateway, "schedule")
    for row in rows():
        if row.path.startswith("/v1/schedules"):
            path = row.path.format(name="nightly") + "?tenant=acme"
            body = BODIES.get((row.method, row.path))
            async with gateway.request(
                row.method, path, headers=key("other"), json=body
            ) as response:
                assert response.status == 403, row
    kept = await gateway.get("/v1/schedules/nightly", headers=key("schedule"))
    assert (await kept.json())["every"] == 3600


async def ask(gateway: Any, row: Row, caller: str | None) -> str:
    """Ask for something of acme's, made anew; the status, or `none`."""
    task_id = gateway.app[parts.ACCESS].task_ids.issue(
        "acme", group=row.path.startswith("/v1/groups")
    )
    query = ""
    if row.path.startswith(SCHEDULES):
        await made(gateway, "schedule")
        await gateway.delete("/v1/schedules/nightly", headers=key("other"))
        query = "?tenant=acme" if caller == "admin" else ""
    places = {"id": task_id, "collection": "papers", "name": "nightly", "queue": "default"}
    if row.path.startswith("/v1/queues/"):
        places["name"] = "default"
    body = BODIES.get((row.method, row.path))
    sent = None if body is None else json.loads(json.dumps(body).replace("{id}", task_id))
    response = await gateway.request(
        row.method, row.path.format(**places) + query, headers=key(caller), json=sent
    )
    try:
        if row.path == "/v1/tasks/status" and response.status == 200:
            [told] = (await response.json())["tasks"]
            return "none" if told == {"id": task_id, "code": "unknown-task-id"} else "200"
        return str(response.status)
    finally:
        response.close()


async def made(gateway: Any, owner: str) -> None:
    """Make the schedule of acme."""
    body = BODIES["PUT", SCHEDULES]
    response = await gateway.put("/v1/schedules/nightly", json=body, headers=key(owner))
    assert response.status in {200, 201}


def key(name: str | None) -> dict[str, str]:
    return {} if name is None else {"Authorization": f"Bearer {name}"}
