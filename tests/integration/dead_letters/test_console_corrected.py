"""A letter corrected in the console: what is not changed goes out exactly as it came."""

import inspect
import json
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
import redis

from devstack import console as building
from gateway.api import parts
from penstock.describe import parameter
from penstock.wire.announcements import CATALOG_KEY
from tests.browsing.console import Console, console_page
from tests.support.dead_letters import DeadLetterBroker
from tests.support.waiting import eventually


def nullable(
    a: str | None = "x",
    b: bool | None = True,
    c: Literal["u", "v"] | None = "u",
    d: str = "x",
    n: int | None = 1,
) -> None:
    """Each argument has another default than it was sent with."""


def rest(a: int, *rest: int, flag: bool = True) -> None:
    """More arguments than names."""


def kinds(
    text: str,
    ratio: float,
    count: int,
    on: bool,
    one: Literal[1, 2],
    anything: Any,
    more: list[int],
) -> None:
    """One of each kind of field."""


def mixed(a: int, /, b: int, c: int = 3, *, d: int = 4) -> None:
    """By place alone, either way, by name alone."""


NULLS = '{"a": null, "b": null, "c": null, "d": "", "n": null}'
KINDS = (
    '{"text": "one\\r\\ntwo\\n\\n \\u0000three", "ratio": 1.0, "count": 12345678901234567890123, '
    '"on": true, "one": 2, "anything": {"2": 1.50, "1": 1E5}, "more": [90071992547409930]}'
)
OTHERS = (
    '{"text": 5, "ratio": "1", "count": 1.5, "on": "yes", "one": 3, "anything": null, "more": ""}'
)
LETTERS: list[tuple[Callable[..., None], str, str]] = [
    (nullable, "[]", NULLS),
    (nullable, "[]", "{}"),
    (nullable, '[null, false, "v"]', '{"n": 0}'),
    (rest, "[1, 2]", "{}"),
    (rest, "[1]", '{"flag": false}'),
    (kinds, "[]", KINDS),
    (kinds, "[]", OTHERS),
    (kinds, '["line\\nline", -0.0, 7, false, 1, "[]", []]', "{}"),
    (mixed, "[1, 2]", '{"d": 0}'),
    (mixed, "[1]", '{"b": 2, "other": 1.0}'),
]

KEEP_SENT = """
window.sent = [];
const real = window.fetch;
window.fetch = (path, options) => {
  if (path === '/v1/tasks' && options.method === 'POST') sent.push(options.body);
  return real(path, options);
};
"""
"""Some of these the gateway refuses: what matters is what it is sent."""


def exact(text: str | bytes) -> Any:
    """Return JSON with its numbers as they are written."""
    return json.loads(text, parse_int=str, parse_float=str)


async def announce(client: Any, redis_url: str, *tasks: Callable[..., None]) -> None:
    """Announce tasks, as a worker that has them does."""
    with redis.Redis.from_url(redis_url) as catalog:
        for one in tasks:
            name = f"demo.{one.__name__}"
            params = [parameter(each) for each in inspect.signature(one).parameters.values()]
            entry = {"task": name, "doc": "", "version": "1", "coroutine": False, "returns": {},
                     "params": params, "seen": time.time() + 300}  # fmt: skip
            catalog.hset(CATALOG_KEY, f"{name}\nabc", json.dumps(entry))
    await client.app[parts.SUBMITTING].catalog.refresh()


@pytest.fixture(autouse=True, scope="module")
def _built():
    """Build before a gateway starts: it serves what it has read then."""
    assert building.build()


@pytest.fixture
async def console(client, redis_url):
    await announce(client, redis_url, nullable, rest, kinds, mixed)
    async with console_page(f"http://127.0.0.1:{client.port}") as page:
        await page.open("/dead-letters/default")
        await page.page.run(KEEP_SENT)
        yield page


async def correct(console: Console, letter: str, **texts: str) -> tuple[Any, Any]:
    """Submit a letter by its form, some fields changed; the arguments that leave the page."""
    await console.go("/dead-letters/default")
    await console.click(f"Body of {letter}", "#letters")
    await console.click("Correct and submit", ".example")
    for name, text in texts.items():
        await console.fill(f"#field-{name}", text)
    await console.page.run("sent.length = 0")
    await console.click("Submit 1 task", "#submit-form")
    body = exact(await eventually(lambda: console.page.run("sent[0]"), 10))
    assert set(body) <= {"task", "args", "kwargs"}, body
    return body.get("args", []), body["kwargs"]


async def die(broker: DeadLetterBroker, number: int, letter: tuple[Any, str, str]) -> None:
    """Have a letter of a task among the dead."""
    task, args, kwargs = letter
    headers = {"task": f"demo.{task.__name__}"}
    body = f"[{args}, {kwargs}, {{}}]".encode()
    await broker.reject(f"letter-{number}", headers=headers, body=body)


async def test_what_is_not_changed_goes_out_as_it_came(broker, console):
    for number, letter in enumerate(LETTERS):
        await die(broker, number, letter)
    await broker.has("default.dead", len(LETTERS))
    wrong = []
    for number, (task, args, kwargs) in enumerate(LETTERS):
        found = await correct(console, f"letter-{number}")
        if found != (exact(args), exact(kwargs)):
            wrong.append(f"{task.__name__} {args} {kwargs}: {found}")

    assert not wrong, "\n".join(wrong)
    taken = exact((await broker.get()).body)
    assert taken[:2] == [[], exact(NULLS)]


@pytest.mark.parametrize(
    ("letter", "texts", "args", "kwargs"),
    [
        ((nullable, "[]", NULLS), {"d": "y", "n": "1.0"}, "[]",
         '{"a": null, "b": null, "c": null, "d": "y", "n": 1.0}'),
        ((nullable, '["a", true, "v", "d"]', "{}"), {"a": "", "b": "null", "c": "null", "d": ""},
         '["", null, null, ""]', "{}"),
        ((kinds, "[]", KINDS), {"text": "one\nTWO", "count": "12345678901234567890124"}, "[]",
         KINDS.replace("two\\n\\n \\u0000three", "TWO").replace("90123,", "90124,")),
        ((mixed, "[1, 2, 5]", "{}"), {"b": "7", "c": ""}, "[1, 7]", "{}"),
        ((nullable, '["a", true, "v"]', "{}"), {"b": ""}, '["a"]', '{"c": "v"}'),
        ((rest, "[1, 2]", "{}"), {"args": "[1, 2.50]"}, "[1, 2.50]", "{}"),
    ],
)  # fmt: skip
async def test_what_is_changed_is_all_that_changes(broker, console, letter, texts, args, kwargs):
    await die(broker, 0, letter)
    await broker.has("default.dead", 1)

    assert await correct(console, "letter-0", **texts) == (exact(args), exact(kwargs))
