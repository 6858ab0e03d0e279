"""`make screenshots`: the pictures of docs/console.md, of a deployment with something to show."""

import argparse
import asyncio
import base64
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from devstack.install import ensure_servers
from devstack.product import ROOT
from devstack.stack import Stack
from tests.browsing.console import Console, built, call, console_page, state, submit

FOLDER = ROOT / "docs" / "images"
WIDE = {"width": 1280, "height": 960, "deviceScaleFactor": 1.5, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
CANVAS = {
    "chain": [
        {"task": "demo.add", "args": [1, 2]},
        {
            "group": [
                {"task": "demo.progress", "args": [60, 0.5], "immutable": True},
                {"task": "demo.sleep", "args": [2], "immutable": True},
                {"task": "demo.sleep", "args": [90], "immutable": True},
                {"task": "demo.flaky", "args": [3], "immutable": True},
            ]
        },
        {"task": "demo.total"},
    ]
}


async def busy(http: aiohttp.ClientSession, seconds: float) -> None:
    """Keep the workers of a deployment busy, some of their tasks failing."""
    ends = asyncio.get_running_loop().time() + seconds
    turn = 0
    while asyncio.get_running_loop().time() < ends:
        turn += 1
        wave = 6 + 5 * (turn % 9 < 3)
        await asyncio.gather(*(submit(http, "demo.add", turn, n) for n in range(wave)))
        await asyncio.gather(*(submit(http, "demo.sleep", 0.5) for _ in range(wave // 2)))
        if turn % 4 == 0:
            await submit(http, "demo.fail", f"row {turn}: no such column 'price'")
        if turn % 9 == 0:
            await submit(http, "demo.fail", f"feed.example did not answer within {turn} s")
        await asyncio.sleep(1)


@asynccontextmanager
async def something_to_show(stack: Stack, seconds: float) -> AsyncIterator[str]:
    """Make history; gives the id of a failed task and leaves others running."""
    async with aiohttp.ClientSession(stack.gateway_url) as http:
        nightly = {"task": "demo.add", "args": [1, 2], "crontab": {"minute": "15", "hour": "3"}}
        await call(http, "PUT", "/v1/schedules/nightly%20prices", nightly)
        await call(http, "POST", "/v1/queues/ranked/pause")
        bodies = [{"task": "demo.add", "args": [1, 2], "options": {"queue": "ranked"}}] * 340
        await call(http, "POST", "/v1/tasks/bulk", bodies)
        await busy(http, seconds)
        for steps, delay_s in ((400, 0.5), (90, 0.8), (240, 0.3)):
            await submit(http, "demo.progress", steps, delay_s)
        chain = await call(http, "POST", "/v1/canvas", CANVAS)
        failed = await submit(http, "demo.fail", "row 1204: no such column 'price'")
        await state(http, failed, 20)
        await busy(http, 8)
        yield str(chain["ids"][0])


async def picture(console: Console, name: str, view: str, size: dict[str, Any], scheme: str,
                  words: str) -> None:  # fmt: skip
    """Write one picture."""
    call_page = console.page.call
    await call_page("Emulation.setDeviceMetricsOverride", **size)
    await call_page(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    await console.open(view)
    await console.sees(words)
    await console.page.run(
        "document.fonts.ready.then(() => new Promise((f) => setTimeout(f, 800)))"
    )
    taken = await call_page("Page.captureScreenshot", format="webp", quality=82)
    (FOLDER / f"{name}.webp").write_bytes(base64.b64decode(taken["data"]))
    sys.stdout.write(f"docs/images/{name}.webp\n")


async def main(seconds: float) -> None:
    """Start everything, make history for a while, and write each picture."""
    ensure_servers()
    await built()
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as place:
        folder = Path(place)
        async with (
            Stack(folder, history=True, beat=True) as stack,
            something_to_show(stack, seconds) as task,
            console_page(stack.gateway_url, "--hide-scrollbars") as console,
        ):
            await picture(console, "console", "/", WIDE, "light", "Terminate")
            await picture(console, "console-dark", "/tasks", WIDE, "dark", "demo.sleep")
            await picture(console, "console-task", f"/tasks/{task}", WIDE, "light", "Canvas")
            await picture(console, "console-phone", "/", PHONE, "light", "default")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of history to make (600)")
    asyncio.run(main(parser.parse_args().seconds))
