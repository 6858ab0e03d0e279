"""The console in a browser: its views, its buttons by what they say, and axe-core."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from devstack import console
from tests.browsing.browser import Page, browser_page
from tests.support.waiting import eventually

_AXE = console.FOLDER / "node_modules" / "axe-core" / "axe.min.js"
_HELPERS = """
window.shown = (one) => one.offsetParent !== null || one.closest('dialog[open]') !== null;
window.named = (words, within) =>
  [...document.querySelectorAll(`${within} :is(button, a, summary)`)]
  .find((one) => shown(one) && !one.disabled && one.textContent.trim().startsWith(words));
window.fill = (selector, value) => {
  const field = document.querySelector(selector);
  field.value = value;
  field.dispatchEvent(new Event('input', {bubbles: true}));
  field.dispatchEvent(new Event('change', {bubbles: true}));
};
"""


class Console:
    """The console in one page.

    Args:
        page: Of a browser.
        url: Of the gateway.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url.rstrip("/")

    async def open(self, view: str = "/", *, online: bool = True) -> None:
        """Load the page at one of its views."""
        await self.page.open("about:blank")
        await self.page.open(f"{self.url}/#{view}")
        await self.page.run(_HELPERS)
        if online:
            await self.sees("connected", ".health")

    async def go(self, view: str) -> None:
        """Go to another view of the loaded page."""
        await self.page.run(f"void (location.hash = {json.dumps(view)})")

    async def text(self, selector: str = "main") -> str:
        found = await self.page.run(
            f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"
        )
        return str(found)

    async def sees(self, words: str, selector: str = "main", timeout_s: float = 15) -> str:
        """Wait until an element says some words."""

        async def there() -> str:
            text = await self.text(selector)
            assert words in text, text[:2000]
            return text

        found: str = await eventually(there, timeout_s)
        return found

    async def click(self, words: str, within: str = "main") -> None:
        """Click on what is called so, as soon as it is there."""
        find = f"named({json.dumps(words)}, {json.dumps(within)})"
        # At once: what is found may be drawn again before a second look at it.
        clicked = f"(found => found ? (found.click(), true) : false)({find})"
        await eventually(lambda: self.page.run(clicked), 30)

    async def confirm(self, words: str, says: str = "") -> None:
        """Agree to what a dialog asks, once it says so."""
        await self.sees(says, "dialog")
        await self.click(words, "dialog")
        await eventually(lambda: self.page.run("!document.querySelector('dialog[open]')"), 15)

    async def fill(self, selector: str, value: str) -> None:
        """Fill a field in, as soon as it is there."""
        await eventually(
            lambda: self.page.run(f"!!document.querySelector({json.dumps(selector)})"), 10
        )
        await self.page.run(f"fill({json.dumps(selector)}, {json.dumps(value)})")

    async def axe(self) -> list[str]:
        """Return what axe-core finds wrong with what is shown."""
        if not await self.page.run("!!window.axe"):
            await self.page.run(f"{_AXE.read_text(encoding='utf-8')}; void 0")
        found = await self.page.run(
            "axe.run().then((found) => JSON.stringify(found.violations.map("
            "(one) => one.id + ': ' + one.nodes.map((node) => node.html).slice(0, 3).join(' '))))"
        )
        return list(json.loads(found))


@asynccontextmanager
async def console_page(url: str, *options: str) -> AsyncIterator[Console]:
    """Give the console of a gateway in a page of its own."""
    async with browser_page(*options) as page:
        yield Console(page, url)


async def built(*, check: bool = False) -> None:
    """Build the console, unless it is there."""
    assert await asyncio.to_thread(console.build, check=check), "see the output above"


async def call(http: Any, method: str, path: str, body: Any = None) -> Any:
    async with http.request(method, path, json=body) as response:
        found = await response.json() if response.status != 204 else None
        assert response.status < 300, found
        return found


async def submit(http: Any, task: str, *args: Any, **options: Any) -> str:
    body = {"task": task, "args": args, "options": options}
    return str((await call(http, "POST", "/v1/tasks", body))["id"])


async def state(http: Any, task_id: str, wait_s: float = 0) -> str:
    return str((await call(http, "GET", f"/v1/tasks/{task_id}?wait={wait_s}"))["state"])
