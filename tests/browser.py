"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
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
from tests.waiting import eventually

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
        async with asyncio.timeout(20):
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


@asynccontextmanager
async def browser_page(folder: Path, *options: str) -> AsyncIterator[Page]:
    """A page of a browser of its own, started with further options."""
    with tempfile.TemporaryDirectory(prefix="page-") as profile:
        child = Child(
            "chromium",
            [
                chromium(), "--headless=new", "--no-sandbox", "--disable-gpu",
                "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                "--remote-debugging-port=0", f"--user-data-dir={profile}", *options, "about:blank",
            ],
            log=folder / "chromium.log",
            env={**child_environment(), "HOME": profile},
        )  # fmt: skip
        child.spawn()
        try:
            ports = Path(profile) / "DevToolsActivePort"
            await eventually(lambda: ports.exists() and ports.read_text().count("\n") >= 1, 30)
            address = f"http://127.0.0.1:{ports.read_text().splitlines()[0]}"
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{address}/json/list") as response:
                    targets = await response.json()
                target = next(one for one in targets if one["type"] == "page")
                async with session.ws_connect(
                    target["webSocketDebuggerUrl"], max_msg_size=0
                ) as socket:
                    page = Page(socket)
                    listening = asyncio.create_task(page.listen())
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    yield page
                    listening.cancel()
        finally:
            await child.kill()
