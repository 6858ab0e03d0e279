"""Which ids a caller may know, with as many tenants as a keys file holds."""

import asyncio
import gc
import itertools
import time
import tracemalloc
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.access.auth import Caller
from gateway.access.keyring import KeyRing
from gateway.access.known_ids import KnownIds
from gateway.access.task_id import TaskIds

OPS = Caller(name="ops", tenant="customer-00000", scopes=frozenset({"admin"}))
CUSTOMER = Caller(name="c", tenant="customer-00007", scopes=frozenset({"read"}))
TENANTS = [f"customer-{number:05}" for number in range(5000)]
SIGNER = TaskIds([(1, b"k" * 32)])
FOREIGN = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"


def write(path: Path, tenants: list[str]) -> None:
    entries = [
        f'[[key]]\nname = "{name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\n'
        'scopes = ["read"]\n'
        for name in tenants
    ]
    path.write_text("".join(entries))


@pytest.fixture
def keyring(tmp_path: Path) -> KeyRing:
    write(tmp_path / "keys.toml", TENANTS)
    return KeyRing(tmp_path / "keys.toml")


async def longest_slice_s(running: asyncio.Task[object]) -> float:
    """How long the event loop computed without a turn for others, until a task is done."""
    longest_s = 0.0
    gc.collect()
    gc.disable()  # of the heap of all tests
    try:
        while not running.done():
            before = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - before)
    finally:
        gc.enable()
    return longest_s


async def test_a_thousand_ids_of_thousands_of_tenants_stop_nobody(keyring: KeyRing):
    ids = [SIGNER.issue(tenant) for tenant in itertools.islice(itertools.cycle(TENANTS[::7]), 1000)]
    longest_s = []
    for _ in range(5):  # what the machine does beside this is no work of ours
        known_ids = KnownIds(SIGNER, keyring)
        asking = asyncio.create_task(known_ids.of_tasks(OPS, ids))
        longest_s.append(await longest_slice_s(asking))
        assert list(await asking) == ids
        if longest_s[-1] < 0.02:
            break

    assert min(longest_s) < 0.02
    before = time.thread_time()
    assert list(await known_ids.of_tasks(OPS, ids)) == ids
    assert time.thread_time() - before < 0.1  # remembered


async def test_ids_of_no_tenant_are_remembered_until_there_are_other_tenants(
    keyring: KeyRing, tmp_path: Path
):
    later, elsewhere = SIGNER.issue("later"), TaskIds([(1, b"o" * 32)]).issue("customer-00001")
    known_ids = KnownIds(SIGNER, keyring)
    asked = [later, elsewhere, FOREIGN, "not an id\n"]

    for _ in range(2):  # as others' ids, of which Redis may know
        assert await known_ids.of_tasks(OPS, asked) == dict.fromkeys(asked[:3])
    write(tmp_path / "keys.toml", [*TENANTS, "later"])
    assert await keyring.refresh()

    known = await known_ids.of_tasks(OPS, asked)
    assert known[later] is not None
    assert known[elsewhere] is None


async def test_a_caller_who_is_no_admin_knows_the_ids_of_one_tenant(keyring: KeyRing):
    own, other = SIGNER.issue("customer-00007"), SIGNER.issue("customer-00008")
    known_ids = KnownIds(SIGNER, keyring)
    await known_ids.of_tasks(OPS, [own, other])

    assert list(await known_ids.of_tasks(CUSTOMER, [own, other, FOREIGN])) == [own]


async def test_what_cannot_be_an_id_is_not_remembered(keyring: KeyRing):
    known_ids = KnownIds(SIGNER, keyring)
    tracemalloc.start()
    try:
        for number in range(50):
            await known_ids.of_tasks(OPS, [f"{number:06}" + "a" * 1_000_000])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 5_000_000
