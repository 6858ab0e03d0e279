"""API keys: the file's form, the lookup, and what a caller may do."""

import asyncio
import os
import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.access.auth import ANONYMOUS
from gateway.access.key_tables import KeysFileError
from gateway.access.keyring import KeyRing
from gateway.access.keys_file import parse_keys, read_keys
from gateway.errors import Problem


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def write(path: Path, *entries: str) -> Path:
    path.write_text("".join(f"[[key]]\n{entry}\n" for entry in entries))
    return path


def entry(name: str, key: str, more: str = 'scopes = ["submit"]') -> str:
    return f'name = "{name}"\nsha256 = "{digest(key)}"\n{more}\n'


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_without_a_file_everybody_is_anonymous():
    assert KeyRing().caller(None) is ANONYMOUS
    assert KeyRing().caller("Bearer whatever") is ANONYMOUS


def test_a_key_is_found_by_its_hash(keys_file: Path):
    ring = KeyRing(write(keys_file, entry("a", "secret-a"), entry("b", "secret-b")))

    for _ in range(2):  # looked up, then from the cache
        assert ring.caller("Bearer secret-b").name == "b"
        assert ring.caller("bearer  secret-a").name == "a"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "secret-a",
        "Basic secret-a",
        "Bearer",
        "Bearer ",
        "Bearer secret-",
        "Bearer \udcff",
        "Bearer " + "x" * 5000,
    ],
)
def test_no_or_a_bad_key_is_unauthenticated_and_queues_nothing(keys_file: Path, authorization):
    ring = KeyRing(write(keys_file, entry("a", "secret-a")))

    with pytest.raises(Problem) as refused:
        ring.caller(authorization)

    assert (refused.value.code, refused.value.status, refused.value.queued) == (
        "unauthenticated",
        401,
        "no",
    )
    assert "secret" not in refused.value.detail


def test_a_file_may_begin_with_a_byte_order_mark(keys_file: Path):
    write(keys_file, entry("a", "1"))
    keys_file.write_bytes(b"\xef\xbb\xbf" + keys_file.read_bytes())

    assert KeyRing(keys_file).caller("Bearer 1").name == "a"


def test_the_hash_itself_is_no_key(keys_file: Path):
    ring = KeyRing(write(keys_file, entry("a", "secret-a")))

    with pytest.raises(Problem):
        ring.caller(f"Bearer {digest('secret-a')}")


def test_the_tenant_is_the_name_unless_given(keys_file: Path):
    ring = KeyRing(
        write(
            keys_file,
            entry("a", "1"),
            entry("b", "2", 'scopes = ["read"]\ntenant = "plant"'),
            entry("c", "3", 'scopes = ["read"]\ntenant = "plant"'),
        )
    )

    assert ring.caller("Bearer 1").tenant == "a"
    assert ring.caller("Bearer 2").tenant == ring.caller("Bearer 3").tenant == "plant"
    assert ring.tenants == {"a", "plant", "anonymous"}


def test_every_fault_of_the_file_is_in_one_error():
    document = tomllib.loads(
        f"""
        other = 1
        [[key]]
        name = "a"
        sha256 = "abc"
        scopes = ["submit", "fly"]
        task = ["demo.*"]
        [[key]]
        name = ""
        sha256 = "{digest("x")}"
        scopes = []
        queues = "default"
        rate = 0
        [[key]]
        name = "good"
        sha256 = "{digest("x")}"
        scopes = ["read"]
        [[key]]
        name = "good"
        sha256 = "{digest("x")}"
        scopes = ["read"]
        """
    )

    with pytest.raises(KeysFileError) as refused:
        parse_keys(document)

    told = "\n".join(refused.value.faults)
    for fault in (
        "'other'",
        "key 1: unknown field 'task'",
        "key 1: 'sha256'",
        "key 1: there is no scope 'fly'",
        "key 2: 'name'",
        "key 2: 'scopes'",
        "key 2: 'queues'",
        "key 2: 'rate'",
        "key 4: the name 'good'",
    ):
        assert fault in told
    assert digest("x") not in told


def test_a_burst_that_admits_nothing_is_a_fault(keys_file: Path):
    write(keys_file, entry("a", "1", 'scopes = ["read"]\nrate = 1\nburst = 0.9'))

    with pytest.raises(KeysFileError, match="key 1: 'burst' must be at least 1"):
        read_keys(keys_file)


def test_two_keys_with_one_hash_are_a_fault(keys_file: Path):
    with pytest.raises(KeysFileError, match="the same sha256 as 'a'"):
        read_keys(write(keys_file, entry("a", "x"), entry("b", "x")))


@pytest.mark.parametrize("text", ["", "key = 1", "[[key", "\xff"])
def test_a_file_without_keys_is_a_fault_and_never_means_anonymous(keys_file: Path, text: str):
    keys_file.write_text(text, encoding="latin-1")

    with pytest.raises(KeysFileError):
        KeyRing(keys_file)


async def test_a_changed_file_is_taken_and_old_keys_end(keys_file: Path):
    ring = KeyRing(write(keys_file, entry("a", "old")))
    ring.caller("Bearer old")
    write(keys_file, entry("b", "new", 'scopes = ["admin"]'))

    assert await ring.refresh()

    assert ring.caller("Bearer new").admin
    with pytest.raises(Problem):
        ring.caller("Bearer old")
    assert not await ring.refresh()


def scopes_nobody_has(path: Path) -> None:
    write(path, entry("a", "old", 'scopes = ["fly"]'))


def no_utf8(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


def nested(path: Path) -> None:
    path.write_text("key = " + "[" * 100_000)


def huge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 40)


def gone(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def loop_of_links(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "spoil", [scopes_nobody_has, no_utf8, nested, huge, gone, folder, pipe, loop_of_links]
)
async def test_a_file_that_cannot_be_used_keeps_the_old_keys_and_is_seen(
    spoil: Callable[[Path], None], keys_file: Path, caplog
):
    ring = KeyRing(write(keys_file, entry("a", "old")))
    spoil(keys_file)

    for _ in range(20):
        await asyncio.wait_for(ring.looper.once(), 5)

    assert ring.caller("Bearer old").name == "a"
    failing = [one.failing.error for one in (ring.looper,) if one.failing]
    assert failing[0].startswith("KeysFileError: ")
    assert [record.message for record in caplog.records] == ["loop-failed"]

    await asyncio.to_thread(remove, keys_file)
    write(keys_file, entry("b", "new"))
    await ring.looper.once()

    assert ring.looper.failing is None
    assert ring.caller("Bearer new").name == "b"


def test_allow_lists_are_patterns_and_admin_is_above_them(keys_file: Path):
    lists = 'tasks = ["demo.*"]\nqueues = ["high_*"]\ncollections = ["plant-*"]'
    ring = KeyRing(
        write(
            keys_file,
            entry("some", "1", f'scopes = ["submit"]\n{lists}'),
            entry("all", "2", f'scopes = ["admin"]\n{lists}'),
        )
    )
    some, everything = ring.caller("Bearer 1"), ring.caller("Bearer 2")

    assert some.may_submit("demo.add", privileged=False)
    assert not some.may_submit("other.add", privileged=False)
    assert some.may_queue("high_priority")
    assert not some.may_queue("default")
    assert some.may_ingest("plant-1")
    assert not some.may_ingest("users")
    assert everything.may_submit("scripts.run", privileged=True)
    assert everything.may_queue("default")
    assert everything.may_ingest("users")
    assert all(everything.may(scope) for scope in ("submit", "read", "ingest", "schedule"))
    assert not some.may("read")


@pytest.mark.parametrize(
    ("tasks", "allowed"),
    [
        ("", False),
        ('tasks = ["demo.*"]', False),
        ('tasks = ["*"]', False),
        ('tasks = ["scripts.run"]', True),
        ('tasks = ["scripts.*"]', False),
        ('tasks = ["*.*"]', False),
        ('tasks = ["[a-z]*"]', False),
        ('tasks = ["scripts.ru[n]"]', False),
        ('tasks = ["scripts.run?"]', False),
        ('tasks = ["Scripts.run"]', False),
        ('tasks = ["demo.*", "scripts.run"]', True),
    ],
)
def test_a_privileged_task_needs_its_exact_name_as_an_entry(keys_file: Path, tasks, allowed):
    ring = KeyRing(write(keys_file, entry("a", "1", f'scopes = ["submit"]\n{tasks}')))

    assert ring.caller("Bearer 1").may_submit("scripts.run", privileged=True) is allowed
