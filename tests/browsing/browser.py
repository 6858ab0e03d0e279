"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
import atexit
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from devstack.children import Child
from devstack.programs import child_environment
from tests.support.waiting import eventually

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Page:
    """One page.

    Args:
        socket: Its DevTools connection.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.complaints: list[str] = []
        """Exceptions, errors and blocked resources of the page."""
        self._traced: list[dict[str, Any]] = []
        self._trace_ended = asyncio.Event()

    async def listen(self) -> None:
        async for message in self._socket:
            found = json.loads(message.data)
            if "id" in found:
                self._answers.pop(found["id"]).set_result(found)
            elif found["method"] == "Runtime.exceptionThrown":
                self.complaints.append(found["params"]["exceptionDetails"]["text"])
            elif found["method"] == "Tracing.dataCollected":
                self._traced += found["params"]["value"]
            elif found["method"] == "Tracing.tracingComplete":
                self._trace_ended.set()
            elif found["method"] == "Log.entryAdded":
                entry = found["params"]["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(90):  # axe-core takes 4 s of a processor for the reference
            found: dict[str, Any] = await answer
        assert "error" not in found, found
        result: dict[str, Any] = found["result"]
        return result

    async def run(self, script: str) -> Any:
        """Run JavaScript in the page; its value, promises awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def longest_task_ms(self, seconds: float) -> float:
        """Watch the page's thread; processor time of its longest task, whatever else was running.

        Args:
            seconds: How long.
        """
        self._traced, self._trace_ended = [], asyncio.Event()
        await self.call("Tracing.start", traceConfig={"includedCategories": ["toplevel"]})
        await asyncio.sleep(seconds)
        await self.call("Tracing.end")
        async with asyncio.timeout(60):
            await self._trace_ended.wait()
        threads = {
            (one["pid"], one["tid"])
            for one in self._traced
            if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
        }
        tasks = (one for one in self._traced if one["name"].endswith("RunTask"))
        return max(
            # Of some tasks the clock of the thread is ahead: none took longer than it lasted.
            (
                min(one.get("tdur", 0), one.get("dur", 0)) / 1000
                for one in tasks
                if (one["pid"], one["tid"]) in threads
            ),
            default=0.0,
        )

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

        async def loaded() -> bool:
            return bool(await self.run("document.readyState === 'complete'"))

        await eventually(loaded, 20)


def chromium() -> str:
    """The browser.

    Raises:
        AssertionError: There is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "no Chromium: apt-get install chromium"
    return found


class Browser:
    """A Chromium that goes on until this process ends: to start one costs more than most tests.

    Args:
        options: Further ones of its command line.
    """

    def __init__(self, options: tuple[str, ...]) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        profile = self._profile.name
        self.child = Child(
            "chromium",
            [
                chromium(), "--headless=new", "--no-sandbox", "--disable-gpu",
                "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                "--remote-debugging-port=0", f"--user-data-dir={profile}", *options, "about:blank",
            ],
            log=Path(profile) / "chromium.log",
            env={**child_environment(), "HOME": profile},
        )  # fmt: skip
        self.child.spawn()
        atexit.register(self._end)

    async def address(self) -> tuple[str, str]:
        """Where its DevTools listen, and the path of the whole browser there."""
        file = Path(self._profile.name) / "DevToolsActivePort"

        def lines() -> list[str]:
            return file.read_text().splitlines() if file.exists() else []

        await eventually(lambda: len(lines()) == 2, 30)
        port, path = lines()
        return f"http://127.0.0.1:{port}", path

    def _end(self) -> None:
        asyncio.run(self.child.kill())
        self._profile.cleanup()


_browsers: dict[tuple[str, ...], Browser] = {}
"""By their options."""


@asynccontextmanager
async def browser_page(*options: str) -> AsyncIterator[Page]:
    """A page that knows nothing of other pages, in a browser with further options."""
    browser = _browsers.get(options)
    if browser is None or not browser.child.running:
        browser = _browsers[options] = Browser(options)
    address, path = await browser.address()
    async with aiohttp.ClientSession() as session, _devtools(session, address + path) as whole:
        # What it stores is its own, as in a private window, and ends with this connection.
        context = await whole.call("Target.createBrowserContext", disposeOnDetach=True)
        target = await whole.call("Target.createTarget", url="about:blank", **context)
        page_path = f"/devtools/page/{target['targetId']}"
        async with _devtools(session, address + page_path) as page:
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            yield page
        await whole.call("Target.disposeBrowserContext", **context)


@asynccontextmanager
async def _devtools(session: aiohttp.ClientSession, url: str) -> AsyncIterator[Page]:
    async with session.ws_connect(url, max_msg_size=0) as socket:
        page = Page(socket)
        listening = asyncio.create_task(page.listen())
        try:
            yield page
        finally:
            listening.cancel()
