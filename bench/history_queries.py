"""History of a million tasks, asked through the gateway: by id, by filters, by words, in groups."""

import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from bench import programs, table
from bench.apps.million import KINDS, NAMES, RARE
from bench.contestants import API_KEY
from bench.figures import Figure, percentile
from bench.gateways import serving
from bench.goals import Goal
from bench.report import Context, Report
from devstack.errors import StartError
from devstack.ports import LOOPBACK, free_port
from devstack.product import Launcher

TASKS, FAILURES = 1_000_000, 100_000
_DATABASE = "bench_history"
_SECRET = "the secret of the bench"
_HOUR_S = 3600
TIMEOUT_S = 4.0
"""How long a query that is given up counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One kind of question, asked many times."""

    what: str
    times: int
    most_ms: float | None
    """What 95 of 100 answers must not exceed; None: only measured."""
    path: str
    """With `{id}`, `{name}`, `{kind}`, `{since}`, `{until}`, `{n}` in it."""


QUESTIONS = (
    Question(what="one by id", times=200, most_ms=50, path="/v1/tasks/{id}/timeline"),
    Question(what="name, state and hour", times=100, most_ms=200,
             path="/v1/tasks?task={name}&state=FAILURE&since={since}&until={until}"),
    Question(what="words of its error", times=100, most_ms=500, path="/v1/tasks?q=customer+{n}"),
    Question(what="failures of a day, grouped", times=20, most_ms=500, path="/v1/failures"),
    Question(what="the newest", times=100, most_ms=None, path="/v1/tasks"),
    Question(what="a frequent word and another", times=50, most_ms=None,
             path="/v1/tasks?q=timeout+{kind}+{name}"),
    Question(what="two words that never meet", times=20, most_ms=None,
             path="/v1/tasks?q=timeout+customer"),
    Question(what="a rare task, any state", times=20, most_ms=None, path=f"/v1/tasks?task={RARE}"),
    Question(what="a pattern of names", times=50, most_ms=None,
             path="/v1/tasks?task=mail.*&state=FAILURE,RETRY"),
    Question(what="failed on a worker", times=50, most_ms=None,
             path="/v1/tasks?worker=celery@w7&state=FAILURE&error={kind}"),
    Question(what="failures since a minute of an hour", times=20, most_ms=None,
             path="/v1/failures?since={since}"),
)  # fmt: skip


async def compare(context: Context) -> Report:
    """Fill MongoDB, and ask one question after the other.

    Raises:
        StartError: Something failed.
    """
    servers = context.servers
    filled = await fill(context)
    async with AsyncExitStack() as stack:
        env = await keeping(context, stack)
        [gateway] = await stack.enter_async_context(serving(servers, env=env))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"})
        )
        took: dict[str, list[float]] = {}
        for question in QUESTIONS:
            asked = _asked(question, filled["now"])
            took[question.what] = [await _ask(session, f"{gateway.url}{path}") for path in asked]
    return _report(filled, took)


async def fill(context: Context) -> dict[str, Any]:
    """Fill MongoDB with a million tasks; return what it holds then, and how long it took.

    Raises:
        StartError: The program failed.
    """
    servers = context.servers
    assert servers.mongo is not None
    context.tell(f"making {TASKS:,} tasks, {FAILURES:,} of which failed within a day")
    filled: dict[str, Any] = await programs.run(
        "bench.apps.million",
        servers.mongo.url_of(""),
        _DATABASE,
        TASKS,
        FAILURES,
        env=servers.env,
    )
    context.tell(
        f"filled in {filled['filled_s']:.0f} s, indexed in {filled['indexed_s']:.0f} s: "
        f"{filled['stored_bytes'] / 1e6:,.0f} MB and {filled['index_bytes'] / 1e6:,.0f} MB of "
        f"indexes, {filled['groups']:,} groups of failures"
    )
    return filled


async def keeping(context: Context, stack: AsyncExitStack) -> dict[str, str]:
    """Start the history process; return the environment of a gateway that asks it.

    The gateway's key has the scope `admin`.

    Raises:
        StartError: It did not become ready.
    """
    port = free_port()
    env = {
        **context.servers.env, "HISTORY_DATABASE": _DATABASE, "HISTORY_SECRET": _SECRET,
        "HISTORY_EVENTS": "0",
    }  # fmt: skip
    keys = context.servers.folder / "admin.toml"
    digest = hashlib.sha256(API_KEY.encode()).hexdigest()
    keys.write_text(f'[[key]]\nname = "bench"\nsha256 = "{digest}"\nscopes = ["admin"]\n')
    env["GATEWAY_KEYS_FILE"] = str(keys)
    process = Launcher(env=env, logs=context.servers.folder).history(port)
    stack.push_async_callback(process.kill)
    await process.start()
    return {**env, "HISTORY_URL": f"http://{LOOPBACK}:{port}"}


def _asked(question: Question, now: float) -> Iterator[str]:
    pick = random.Random(11)
    for _ in range(question.times):
        since = now - pick.uniform(2, 20) * _HOUR_S
        number = pick.randrange(50_000)
        yield question.path.format(
            id=f"{number:07x}-0000-7000-8000-{pick.randrange(20)}",
            name=pick.choice(NAMES),
            kind=pick.choice(KINDS),
            since=_time(since),
            until=_time(since + _HOUR_S),
            n=pick.randrange(1_000),
        )


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _ask(session: aiohttp.ClientSession, url: str) -> float:
    """Milliseconds until an answer was there as a whole."""
    started = time.perf_counter()
    async with session.get(url) as response:
        body = await response.read()
    if response.status == 503:  # MongoDB took too long, and was stopped
        return TIMEOUT_S * 1000
    if response.status != 200:
        raise StartError(f"{url}: {response.status} {body[:500]!r}")
    return (time.perf_counter() - started) * 1000


def _report(filled: dict[str, Any], took: dict[str, list[float]]) -> Report:
    goals, rows = [], []
    for question in QUESTIONS:
        ordered = sorted(took[question.what])
        p50, p95 = percentile(ordered, 0.5), percentile(ordered, 0.95)
        bound = "" if question.most_ms is None else f"{question.most_ms:g}"
        rows.append(
            (question.what, f"{p50:.1f}", f"{p95:.1f}", f"{ordered[-1]:.1f}", bound, question.path)
        )
        if question.most_ms is not None:
            goals.append(
                Goal(
                    what=f"history of {TASKS:,}: {question.what}, p95",
                    most=question.most_ms,
                    aim=question.most_ms / 2,
                    unit="ms",
                    measured=Figure.of([p95]),
                )
            )
    header = (f"{filled['tasks']:,} tasks, ms", "p50", "p95", "longest", "p95 at most", "asked")
    return Report(
        name="history-queries",
        data={"filled": filled, "took_ms": took, "questions": [asdict(one) for one in QUESTIONS]},
        text=table.rows(header, rows),
        goals=goals,
    )
