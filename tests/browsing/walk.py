"""What a new operator has to do, done in the console of a deployment by clicks that are counted.

    python -m tests.browsing.walk [--pictures FOLDER] [--only yesterday,purge]

Prints a line for each: clicks, keys, the seconds that the page took, and those that a person would
take by the keystroke-level model, who knows where to click.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from devstack.install import ensure_servers
from tests.browsing.browser import browser_page
from tests.browsing.console import Console, built, call, state
from tests.browsing.hand import Hand
from tests.browsing.troubles import ADMIN, FAILED, READER, Troubled, troubled
from tests.support.waiting import eventually

_DESK = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}


@dataclass
class Walk:
    """An operator at the console of a deployment with troubles."""

    hand: Hand
    of: Troubled
    http: aiohttp.ClientSession

    async def ends(self, task: str, state_wanted: str) -> None:
        """Wait for the end of a task."""
        assert await state(self.http, task, 20) == state_wanted


async def yesterday(walk: Walk) -> None:
    """Find why yesterday's imports failed, and run them again."""
    hand = walk.hand
    await hand.click("Failures", "nav")
    await hand.choose("[name=period]", "yesterday")
    await hand.type("[name=task]", "imports.*", enter=True)
    await hand.click("Details", ".t-failures")
    await hand.sees("there is 'net_price'", ".example")
    await hand.shows("yesterday-why")
    walk.of.mend_feed()
    await hand.click("Retry all", ".t-failures")
    await hand.sees(f"{FAILED} tasks match", "dialog")
    await hand.shows("yesterday-retry")
    await hand.click(f"Retry {FAILED} tasks", "dialog")
    await hand.sees(f"{FAILED} of {FAILED} done", ".toasts")

    async def imported() -> bool:
        found = await call(walk.http, "GET", "/v1/tasks?task=imports.prices&state=SUCCESS")
        return len(found["tasks"]) == FAILED

    await eventually(imported, 30)


async def stuck(walk: Walk) -> None:
    """Have somebody work on a queue that stands still."""
    hand = walk.hand
    await hand.sees("queue-without-worker", ".health")
    await hand.shows("stuck")
    await hand.click("Have a worker consume it", ".health")
    await hand.click("Consume", ".commands")
    await hand.shows("stuck-consume")
    await hand.click("Consume", "dialog")
    await walk.ends(walk.of.stuck, "SUCCESS")


async def paused(walk: Walk) -> None:
    """Find the queue that somebody paused and forgot, and let it go on."""
    hand = walk.hand
    await hand.sees("messages wait; paused by", ".health")
    await hand.shows("paused")
    await hand.click("Resume ranked", ".health")
    await hand.click("Resume", "dialog")
    await walk.ends(walk.of.paused, "SUCCESS")


async def letter(walk: Walk) -> None:
    """Read why an order died, submit it corrected, and discard the letter."""
    hand = walk.hand
    await hand.click("Dead letters", "nav")
    await hand.click("Body", "#letters")
    await hand.sees("the amount of Ada is -5", ".example")
    await hand.shows("letter")
    await hand.click("Correct and submit", ".example")
    await hand.type("#field-amount", "5")
    await hand.shows("letter-corrected")
    await hand.click("Submit 1 task", "#submit-form")
    await hand.sees("SUCCESS", "#sent")
    await hand.click("Dead letters", "nav")
    await hand.click("Discard", ".t-letters")
    await hand.click("Discard 1 letter", "dialog")
    await hand.sees("No message of default has died")


async def traced(walk: Walk) -> None:
    """Say what took a task so long, whose id is in somebody's log, and open its trace."""
    hand = walk.hand
    await hand.click("Tasks", "nav")
    await hand.type("[name=q]", walk.of.slow, enter=True)
    await hand.sees("attempt 3", ".timeline")
    await hand.shows("traced")
    link = await hand.console.page.run("document.querySelector('.fact a[rel=noreferrer]').href")
    trace = str(link).rpartition("/")[2]
    await eventually(lambda: walk.of.receiver.of(trace), 30)
    await hand.click(trace[:8])


async def runaway(walk: Walk) -> None:
    """Stop the task that holds a slot and never ends."""
    hand = walk.hand
    await hand.sees("of 5000", ".t-running")
    await hand.shows("runaway")
    await hand.click("Terminate", ".t-running")
    await hand.click("Terminate 1 task", "dialog")
    await walk.ends(walk.of.runaway, "REVOKED")


async def schedule(walk: Walk) -> None:
    """Run the nightly import now."""
    hand = walk.hand
    await hand.click("Schedules", "nav")
    await hand.click("Run now nightly", "#schedules")
    await hand.click("Run 1 task", "dialog")
    await hand.sees("Submitted demo.add", ".toasts")
    await hand.shows("schedule")


async def form(walk: Walk) -> None:
    """Submit a task of which only the name is known."""
    hand = walk.hand
    await hand.click("Submit", "nav")
    await hand.type(".picker input", "imports.order")
    await hand.click("imports.order", ".picker")
    await hand.type("#field-customer", "Grace")
    await hand.type("#field-amount", "12.5")
    await hand.click("Submit 1 task", "#submit-form")
    await hand.sees("SUCCESS", "#sent")
    await hand.shows("form")


async def link(walk: Walk) -> None:
    """Show a colleague the failed imports of a worker: a link that opens the same list."""
    hand = walk.hand
    await hand.click("Tasks", "nav")
    await hand.click("FAILURE", ".states")
    await hand.type("[name=task]", "imports.*", enter=True)
    await hand.choose("[name=since]", "7d")
    address = await hand.console.page.run("location.href")
    await hand.sees("no column 'price'", ".t-tasks")
    await hand.shows("link")
    async with desk(walk.of, READER, None) as other:
        await other.console.page.open("about:blank")
        await other.console.page.open(str(address))
        await other.sees("no column 'price'", ".t-tasks")
        pressed = "document.querySelector('[aria-pressed=true]').innerText"
        assert await other.console.page.run(pressed) == "FAILURE"


async def purge(walk: Walk) -> None:
    """Empty a queue of work that nobody wants any more."""
    hand = walk.hand
    await hand.click("high_priority", ".t-queues")
    await hand.click("Purge", "#queue")
    said = await hand.sees("messages ready now will end REVOKED", "dialog")
    number = said.rpartition(" messages")[0].split()[-1]  # a worker had some before the pause
    await hand.shows("purge")
    await hand.click(f"Purge {number}", "dialog")
    await hand.sees(f"{number} of {number} done", ".toasts")
    await walk.ends(walk.of.unwanted, "REVOKED")


async def reading(walk: Walk) -> None:
    """Look with a key that may only read: everything is there, and no button that it cannot use."""
    async with desk(walk.of, "", walk.hand.pictures) as hand:
        await hand.console.open("/", online=False)
        hand.begin()
        await hand.type("#key", READER, enter=True)
        await hand.sees("connected", ".health")
        await hand.sees("default", ".t-queues")
        await hand.shows("reading")
        words = "[...document.querySelectorAll('main button')].map((one) => one.innerText).join()"
        found = str(await hand.console.page.run(words))
        assert not {"Pause", "Resume", "Purge", "Retry", "Terminate"} & set(found.split(",")), found
        walk.hand.clicks, walk.hand.keys = hand.clicks, hand.keys


TASKS: dict[str, Callable[[Walk], Awaitable[None]]] = {
    one.__name__: one
    for one in (
        yesterday, stuck, paused, letter, traced, runaway, schedule, form, link, purge, reading,
    )
}  # fmt: skip


@asynccontextmanager
async def desk(of: Troubled, key: str, pictures: Path | None) -> AsyncIterator[Hand]:
    """A page of its own, with a key in its tab."""
    async with browser_page("--hide-scrollbars") as page:
        await page.call("Emulation.setDeviceMetricsOverride", **_DESK)
        if key:
            script = f"sessionStorage.setItem('penstock-key', '{key}')"
            await page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        yield Hand(Console(page, of.url), pictures)


async def walk_through(of: Troubled, names: list[str], pictures: Path | None) -> list[str]:
    """Do each; return a row for each."""
    rows = []
    async with (
        aiohttp.ClientSession(of.url, headers={"Authorization": f"Bearer {ADMIN}"}) as http,
        desk(of, ADMIN, pictures) as hand,
    ):
        for name in names:
            do = TASKS[name]
            await hand.console.open("/")
            await hand.sees("default", ".t-queues")
            hand.begin()
            await do(Walk(hand, of, http))
            page_s, person_s = hand.page_s, hand.person_s
            what = (do.__doc__ or "").rstrip(".")
            rows.append(f"| {what} | {hand.clicks} | {hand.keys} | {page_s:.1f} | {person_s:.0f} |")
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    return rows


async def main(names: list[str], pictures: Path | None) -> None:
    """Start a deployment with troubles, and mend each."""
    ensure_servers()
    await built()
    with tempfile.TemporaryDirectory(prefix="walk-") as place:
        async with troubled(Path(place)) as of:
            sys.stdout.write("| to | clicks | keys | seconds of the page | of a person |\n")
            sys.stdout.write("|---|---|---|---|---|\n")
            await walk_through(of, names, pictures)


def _arguments() -> tuple[list[str], Path | None]:
    parser = argparse.ArgumentParser(prog="python -m tests.browsing.walk", description=__doc__)
    parser.add_argument("--pictures", type=Path, default=None, help="a folder for pictures")
    parser.add_argument("--only", default=",".join(TASKS), help="names, separated by commas")
    given: Any = parser.parse_args()
    names = given.only.split(",")
    if strangers := set(names) - set(TASKS):
        parser.error(f"no {', '.join(strangers)}; there are {', '.join(TASKS)}")
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    return names, given.pictures


if __name__ == "__main__":
    asyncio.run(main(*_arguments()))
