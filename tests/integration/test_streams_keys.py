"""Who may open streams, by key and by ticket, and what ends them."""

import asyncio
import base64
import time
from hashlib import sha256
from uuid import uuid4

import aiohttp
import pytest

from gateway.access.auth import Caller
from gateway.access.tickets import MAX_IDS, Tickets
from gateway.api import parts
from tests.support.event_source_client import Source
from tests.support.stream_client import Stream
from tests.support.waiting import eventually


async def ticket(client, body=None, name="reader"):
    response = await client.post("/v1/tickets", json=body or {}, headers=client.as_(name))
    assert response.status == 200, await response.text()
    return (await response.json())["ticket"]


async def test_a_ticket_opens_streams_of_its_tenant(make_keyed_gateway):
    client = await make_keyed_gateway()
    mine, foreign = (
        client.app[parts.ACCESS].task_ids.issue(tenant) for tenant in ("acme", "other")
    )
    text = await ticket(client)
    async with client.ws_connect(f"/v1/stream?ticket={text}&ids={mine},{foreign}") as ws:
        told = {message["id"]: message for message in await Stream(ws).take(2)}
    events = await client.get(f"/v1/tasks/{mine}/stream?ticket={text}")
    refused = await client.get(f"/v1/tasks/{foreign}/stream?ticket={text}")

    assert told[mine]["state"] == "PENDING"
    assert told[foreign]["code"] == "unknown-task-id"
    assert (await Source(events).next())["data"]["state"] == "PENDING"
    assert refused.status == 404


async def test_a_ticket_for_some_ids_opens_no_others(make_keyed_gateway):
    client = await make_keyed_gateway()
    mine, other = (client.app[parts.ACCESS].task_ids.issue("acme") for _ in range(2))
    text = await ticket(client, {"ids": [mine]})
    async with client.ws_connect(f"/v1/stream?ticket={text}&ids={mine},{other}") as ws:
        told = {message["id"]: message for message in await Stream(ws).take(2)}
    refused = await client.get(f"/v1/tasks/{other}/stream?ticket={text}")

    assert told[mine]["state"] == "PENDING"
    assert told[other]["code"] == "forbidden"
    assert refused.status == 403


async def test_an_admins_ticket_watches_what_its_key_reads_and_does_nothing_else(
    make_keyed_gateway, worker
):
    client = await make_keyed_gateway()
    theirs, other = (client.app[parts.ACCESS].task_ids.issue("acme") for _ in range(2))
    published = str(uuid4())  # as `.delay()` makes ids
    await worker.start(published)
    await worker.fail(theirs, "no")
    every = await ticket(client, {"tenants": "all"}, "root")
    own = await ticket(client, {}, "root")
    named = await ticket(client, {"ids": [theirs, published]}, "root")
    told = {}
    for text in (every, named, own):
        ids = f"{theirs},{published},{other}"
        async with client.ws_connect(f"/v1/stream?ticket={text}&ids={ids}") as socket:
            told[text] = {one["id"]: one for one in await Stream(socket).take(3)}
    changes = [
        await client.request(method, path, params={"ticket": every}, json={})
        for method, path in (
            ("DELETE", f"/v1/tasks/{published}"), ("POST", "/v1/tasks"), ("GET", "/v1/workers"),
            ("GET", f"/v1/tasks/{theirs}"), ("POST", "/v1/tickets"),
        )
    ]  # fmt: skip

    for text in (every, named):
        assert told[text][theirs]["error"]["traceback"] == "Traceback: secret line"
        assert told[text][published]["state"] == "STARTED"
    assert told[every][other]["state"] == "PENDING"
    assert told[named][other]["code"] == "forbidden"
    assert {one["code"] for one in told[own].values()} == {"unknown-task-id"}
    response = await client.post(
        "/v1/tickets", json={"tenants": "all"}, headers=client.as_("reader")
    )
    assert (response.status, (await response.json())["code"]) == (403, "forbidden")
    assert [answer.status for answer in changes] == [401] * 5


async def test_a_ticket_of_another_key_watches_nothing_that_others_publish(
    make_keyed_gateway, worker
):
    client = await make_keyed_gateway()
    theirs = client.app[parts.ACCESS].task_ids.issue("ops")
    published = str(uuid4())
    for one in (theirs, published):
        await worker.start(one)
    text = await ticket(client)
    async with client.ws_connect(f"/v1/stream?ticket={text}&ids={theirs},{published}") as socket:
        told = await Stream(socket).take(2)

    assert [one["code"] for one in told] == ["unknown-task-id"] * 2


async def test_without_keys_a_ticket_watches_what_others_publish(watching, worker):
    published = str(uuid4())
    await worker.start(published)
    response = await watching.post("/v1/tickets", json={"tenants": "all"})
    text = (await response.json())["ticket"]
    async with watching.ws_connect(f"/v1/stream?ticket={text}&ids={published}") as socket:
        assert (await Stream(socket).next())["state"] == "STARTED"


async def test_the_longest_ticket_fits_a_url(make_keyed_gateway):
    client = await make_keyed_gateway()
    ids = [client.app[parts.ACCESS].task_ids.issue("acme") for _ in range(MAX_IDS)]
    text = await ticket(client, {"ids": ids})
    async with client.ws_connect(f"/v1/stream?ticket={text}") as ws:
        await Stream(ws).subscribe(*ids)
        told = await Stream(ws).take(MAX_IDS)

    assert all(message["state"] == "PENDING" for message in told)


async def test_bad_tickets_are_refused_and_say_so(make_keyed_gateway):
    client = await make_keyed_gateway()
    good = await ticket(client)
    spoilt = good[:20] + ("A" if good[20] != "A" else "B") + good[21:]
    foreign = Tickets(
        [(1, b"another key of sixteen octets")], client.app[parts.ACCESS].keyring
    ).issue(_caller(), None)[0]
    for text in ("", "x", "é", spoilt, foreign, good[:-4], good + "AAAA", "A" * 5000):
        response = await client.get("/v1/stream", params={"ticket": text})
        assert response.status == 401, text
        assert (await response.json())["code"] == "invalid-ticket"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/v1/stream", params={"ticket": text})
        assert refused.value.status == 401


def _caller():
    return Caller(name="x", tenant="acme")


async def test_an_expired_ticket_is_refused(make_keyed_gateway):
    client = await make_keyed_gateway()

    class Yesterday(Tickets):
        def issue(self, caller, ids, *, every_tenant=False):
            text, _ = super().issue(caller, ids, every_tenant=every_tenant)
            signed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            body = bytearray(signed[:-16])
            body[3:7] = (int(time.time()) - 1).to_bytes(4, "big")
            signed = bytes(body) + self._mac(body[1], bytes(body))
            return base64.urlsafe_b64encode(signed).rstrip(b"=").decode(), 0.0

    text = Yesterday(client.app[parts.CONFIG].task_id_keys, client.app[parts.ACCESS].keyring).issue(
        _caller(), None
    )[0]
    response = await client.get("/v1/stream", params={"ticket": text})

    assert response.status == 401
    assert "expired" in (await response.json())["detail"]


async def test_tickets_are_for_readers_and_for_their_own_ids(make_keyed_gateway):
    client = await make_keyed_gateway()
    foreign = client.app[parts.ACCESS].task_ids.issue("other")
    answers = [
        await client.post("/v1/tickets", json={}),
        await client.post("/v1/tickets", json={}, headers=client.as_("submitter")),
        await client.post("/v1/tickets", json={"ids": [foreign]}, headers=client.as_("reader")),
        await client.post("/v1/tickets", json={"ids": ["x"] * 401}, headers=client.as_("reader")),
        await client.post("/v1/tickets", json={"id": 1}, headers=client.as_("reader")),
    ]

    assert [answer.status for answer in answers] == [401, 403, 404, 400, 400]


def _replace(path, *entries):
    """Write the keys file again: (name, tenant, scopes) of each."""
    path.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\ntenant = "{tenant}"\nscopes = {scopes}\n'
            f'sha256 = "{sha256(name.encode()).hexdigest()}"\n'
            for name, tenant, scopes in entries
        )
    )


@pytest.mark.parametrize(
    "now",
    [
        [],
        [("reader", "acme", ["submit"])],
        [("reader", "other", ["read"])],
        [("newcomer", "acme", ["read"])],  # of the same tenant, but another key
    ],
)
async def test_a_removed_or_changed_key_ends_its_streams_and_tickets_and_no_others(
    make_keyed_gateway, tmp_path, now
):
    client = await make_keyed_gateway()
    mine, foreign = (
        client.app[parts.ACCESS].task_ids.issue(tenant) for tenant in ("acme", "other")
    )
    text = await ticket(client)
    kept = await ticket(client, {}, "other")
    opened = [
        await client.ws_connect(f"/v1/stream?ids={mine}", headers=client.as_("reader")),
        await client.ws_connect(f"/v1/stream?ids={mine}&ticket={text}"),
    ]
    events = Source(await client.get(f"/v1/tasks/{mine}/stream?ticket={text}"))
    other = await client.ws_connect(f"/v1/stream?ids={foreign}&ticket={kept}")
    for socket in (*opened, other):
        assert (await Stream(socket).next())["state"] == "PENDING"
    await events.next()

    _replace(tmp_path / "keys.toml", ("other", "other", ["read", "submit"]), *now)
    async with asyncio.timeout(5):
        for socket in opened:
            assert (await Stream(socket).next())["code"] == "unauthenticated"
            closed = await socket.receive()
            assert (closed.data, closed.extra) == (1008, "unauthenticated")
        [last] = await events.rest()
    assert (last["event"], last["data"]["code"]) == ("error", "unauthenticated")
    for path in (f"/v1/tasks/{mine}/stream", f"/v1/stream?ids={mine}"):
        joint = "&" if "?" in path else "?"
        refused = await client.get(f"{path}{joint}ticket={text}")
        assert (refused.status, (await refused.json())["code"]) == (401, "invalid-ticket")
    await Stream(other).subscribe(client.app[parts.ACCESS].task_ids.issue("other"))
    assert (await Stream(other).next())["state"] == "PENDING"
    assert (await client.get(f"/v1/tasks/{foreign}/stream?ticket={kept}")).status == 200


@pytest.mark.parametrize("named", [True, False])
async def test_an_admins_ticket_shows_less_once_its_key_is_none(
    make_keyed_gateway, tmp_path, named
):
    client = await make_keyed_gateway()
    mine, foreign = (client.app[parts.ACCESS].task_ids.issue(tenant) for tenant in ("ops", "acme"))
    text = await ticket(client, {"ids": [mine, foreign]} if named else {"tenants": "all"}, "root")
    _replace(tmp_path / "keys.toml", ("root", "ops", ["read"]), ("a", "acme", ["read"]))

    async def taken():
        return (await client.get(f"/v1/tasks/{foreign}/stream?ticket={text}")).status == 404

    await eventually(taken, timeout_s=5)
    assert (await client.get(f"/v1/tasks/{mine}/stream?ticket={text}")).status == 200


async def test_streams_need_a_key_with_the_scope_read(make_keyed_gateway):
    client = await make_keyed_gateway()
    answers = [
        await client.get("/v1/stream"),
        await client.get("/v1/stream", headers=client.as_("submitter")),
        await client.get(f"/v1/tasks/{client.app[parts.ACCESS].task_ids.issue('acme')}/stream"),
    ]

    assert [answer.status for answer in answers] == [401, 403, 401]
