"""The console in Chromium: its first view in front of a million tasks, and 500 changes a second.

    python -m bench console-first-view console-changes [--rounds 7] [--seconds 20]

A first view is one of a browser that has loaded nothing before. It is there once every part of the
overview shows what it knows, drawn. A long task is what the browser's own observer calls so: more
than 50 ms in which the page answers nobody. On a busy machine most of that is waiting for a
processor: the processor time of the longest task stands beside it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench import table
from bench.contestants import API_KEY
from bench.figures import Figure
from bench.gateways import serving
from bench.goals import Goal
from bench.history_queries import fill, keeping
from bench.report import Context, Report
from devstack import console
from devstack.errors import StartError
from devstack.product import COROUTINES, WorkerSpec
from tests.browsing.browser import Page, browser_page
from tests.support.waiting import eventually

WORKERS = (
    WorkerSpec(name="asyncio", pool="asyncio", queues=("coroutines",), concurrency=COROUTINES),
    WorkerSpec(name="threads", pool="threads", queues=("default", "ranked"), concurrency=4),
)
TASKS, STEPS, EVERY_S = 150, 200, 0.3
"""Running at once, each with so many changes, that far apart: 500 changes a second."""
_SECONDS = 20.0
_MOST_MS, _MOST_OCTETS, _MOST_TASK_MS = 1000.0, 200_000.0, 50.0
_WAIT_S = 60.0
_SIZE = {"width": 1280, "height": 960, "deviceScaleFactor": 1, "mobile": False}
_SEEN = """
sessionStorage.setItem("penstock-key", %s);
window.long = [];
new PerformanceObserver((found) => long.push(...found.getEntries().map((one) => one.duration)))
  .observe({entryTypes: ["longtask"]});
const parts = [".health.ok, .health.warn", "#queues .t-queues .body .row", "#failures .body .row",
  "#running .row, #running .empty"];
const all = () => parts.every((one) => document.querySelector(one));
const look = () => {
  if (document.querySelector("[aria-busy=true]") || !all()) return requestAnimationFrame(look);
  requestAnimationFrame(() => setTimeout(() => { window.shownMs = performance.now(); }));
};
look();
"""
"""Notes the frame in which all is there; to ask before each frame costs the page microseconds."""
_LOADED = """
JSON.stringify(["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
  .filter((one) => one.responseEnd <= shownMs)
  .map((one) => [one.name.replace(location.origin, ""), one.transferSize, one.startTime,
    one.responseEnd]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One first view."""

    shown_ms: float
    """From the navigation until all was drawn."""
    octets: int
    """Of every answer until then, headers included."""
    longest_task_ms: float
    loaded: list[tuple[str, int, float, float]]
    """Path, octets, begin and end in milliseconds of each answer."""


async def first_view(context: Context) -> Report:
    """Open the console so many times, each time in a browser that knows nothing.

    Raises:
        StartError: Something failed.
    """
    await _build()
    await fill(context)
    async with AsyncExitStack() as stack:
        env = await keeping(context, stack)
        [gateway] = await stack.enter_async_context(
            serving(context.servers, workers=WORKERS, env=env)
        )
        views = [await _view(context, gateway.url) for _ in range(context.plan.rounds)]
    shown = Figure.of([one.shown_ms for one in views])
    octets = Figure.of([float(one.octets) for one in views])
    return Report(
        name="console-first-view",
        data=views,
        text=_loaded_table(sorted(views, key=lambda one: one.shown_ms)[len(views) // 2]),
        goals=[
            Goal(what="first view of a million tasks", most=_MOST_MS, aim=_MOST_MS / 2, unit="ms",
                 measured=shown),
            Goal(what="all that a first view loads", most=_MOST_OCTETS, aim=_MOST_OCTETS * 0.75,
                 unit="octets", measured=octets),
        ],
    )  # fmt: skip


async def changes(context: Context) -> Report:
    """Watch tasks that change 500 times a second, for a while.

    Raises:
        StartError: Something failed.
    """
    await _build()
    seconds = context.plan.seconds or _SECONDS
    async with AsyncExitStack() as stack:
        env = await keeping(context, stack)
        [gateway] = await stack.enter_async_context(
            serving(context.servers, workers=WORKERS, env=env)
        )
        await _begin(gateway.url)
        page = await stack.enter_async_context(_page())
        await page.open(f"{gateway.url}/")
        await _until(page, "document.querySelectorAll('.t-running progress').length >= 100")
        await page.run("void (window.long = [])")
        before = await page.run(_SHOWN_STEPS)
        processor_ms = await page.longest_task_ms(seconds)
        after, long = await page.run(_SHOWN_STEPS), await page.run("long")
    rate = (after - before) / seconds
    if rate < 0.8 * TASKS / EVERY_S:
        raise StartError(f"the page showed {rate:.0f} changes a second")
    longest = max([0.0, *long])
    rows = [
        ("changes shown per second", f"{rate:.0f}"),
        ("long tasks", f"{len(long)}"),
        ("the longest, ms", f"{longest:.0f}"),
        ("the most processor time of a task, ms", f"{processor_ms:.0f}"),
    ]
    return Report(
        name="console-changes",
        data={
            "seconds": seconds,
            "rate": rate,
            "long_tasks_ms": long,
            "most_processor_ms": processor_ms,
        },
        text=table.rows(("500 changes a second", ""), rows),
        goals=[
            Goal(what="longest task of a page with 500 changes/s", most=_MOST_TASK_MS, aim=0,
                 unit="ms", measured=Figure.of([longest])),
        ],
    )  # fmt: skip


_SHOWN_STEPS = f"""
[...document.querySelectorAll('.t-running progress')]
  .reduce((sum, one) => sum + Math.round(one.value * {STEPS}), 0)
"""


async def _build() -> None:
    if not await asyncio.to_thread(console.build):  # a gateway reads it at its start
        raise StartError("the console is not built")


async def _begin(url: str) -> None:
    task = {
        "task": "demo.progress",
        "args": [STEPS, EVERY_S],
        "options": {"queue": "coroutines"},
    }
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with (
        aiohttp.ClientSession(headers=key) as session,
        session.post(f"{url}/v1/tasks/bulk", json=[task] * TASKS) as answer,
    ):
        if answer.status != 202:
            raise StartError(f"{answer.status}: {await answer.text()}")


async def _view(context: Context, url: str) -> View:
    async with _page() as page:
        await page.open(f"{url}/")
        await _until(page, "window.shownMs")
        loaded = [tuple(one) for one in json.loads(await page.run(_LOADED))]
        found = View(
            shown_ms=await page.run("shownMs"),
            octets=sum(one[1] for one in loaded),
            longest_task_ms=max([0.0, *await page.run("long")]),
            loaded=loaded,
        )
    context.tell(f"shown in {found.shown_ms:.0f} ms, {found.octets:,} octets")
    return found


@asynccontextmanager
async def _page() -> AsyncIterator[Page]:
    async with browser_page() as page:
        await page.call("Emulation.setDeviceMetricsOverride", **_SIZE)
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=_SEEN % json.dumps(API_KEY))
        yield page


async def _until(page: Page, script: str) -> None:
    try:
        await eventually(lambda: page.run(f"!!({script})"), _WAIT_S, 0.2)
    except AssertionError as error:
        text: Any = await page.run("document.body.innerText")
        raise StartError(f"the console does not show it:\n{text}") from error


def _loaded_table(view: View) -> str:
    rows = [
        (path.partition("?")[0], f"{octets:,}", f"{begun:.0f}", f"{ended:.0f}")
        for path, octets, begun, ended in view.loaded
    ]
    rows.append(("all, drawn", f"{view.octets:,}", "0", f"{view.shown_ms:.0f}"))
    return table.rows(("first view, the median one", "octets", "begun ms", "there ms"), rows)
