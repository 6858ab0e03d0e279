"""A hand on the console's page: a real mouse and keyboard, whose clicks and keys are counted."""

import asyncio
import base64
import json
import time
from pathlib import Path

from tests.browsing.console import Console
from tests.support.waiting import eventually

_POINT_S, _CLICK_S, _THINK_S, _KEY_S = 1.1, 0.2, 1.35, 0.28
"""Of the keystroke-level model of Card, Moran and Newell, for a person of ordinary skill."""
_STEADY_S = 0.15
_CENTRE = """
(() => {
  const one = %s;
  if (!one) return null;
  one.scrollIntoView({block: "nearest", inline: "nearest"});
  const box = one.getClientRects()[0];  // of words that wrap, the first line
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  const top = document.elementFromPoint(x, y);
  return one.contains(top) ? [x, y] : null;
})()
"""
"""Where to click on an element; null: it is not there, or something covers it."""


class Hand:
    """Does what a person does, and counts it.

    Args:
        console: Which page.
        pictures: A folder for a picture of each moment that is shown; None: none.
    """

    def __init__(self, console: Console, pictures: Path | None) -> None:
        self.console = console
        self._page = console.page
        self.pictures = pictures
        self.clicks = 0
        self.keys = 0
        self._began = 0.0

    def begin(self) -> None:
        """Count from here on."""
        self.clicks = self.keys = 0
        self._began = time.monotonic()

    @property
    def page_s(self) -> float:
        """Seconds since then: what the page, and the machine, took."""
        return time.monotonic() - self._began

    @property
    def person_s(self) -> float:
        """Seconds for a person who points, thinks before each click, and types."""
        return self.clicks * (_POINT_S + _CLICK_S + _THINK_S) + self.keys * _KEY_S + self.page_s

    async def click(self, words: str, within: str = "main") -> None:
        """Click on what is called so, as soon as it is there, stands still and is not covered."""
        await self._click(f"named({json.dumps(words)}, {json.dumps(within)})")

    async def type(self, selector: str, text: str, *, enter: bool = False) -> None:
        """Click into a field, and type over what it has."""
        field = f"document.querySelector({json.dumps(selector)})"
        await self._click(field)
        await self._page.run(f"{field}.select()")
        await self._page.call("Input.insertText", text=text)
        self.keys += len(text)
        if enter:
            self.keys += 1
            await self._key("Enter")

    async def choose(self, selector: str, value: str) -> None:
        """Choose of a list: a click to open it, and one on the choice."""
        field = f"document.querySelector({json.dumps(selector)})"
        await self._click(field)
        await self._key("Escape")  # the list is drawn outside of the page
        await self.console.fill(selector, value)
        self.clicks += 1

    async def sees(self, words: str, within: str = "main", timeout_s: float = 60) -> str:
        """Read some words, as soon as they are there."""
        return await self.console.sees(words, within, timeout_s)

    async def shows(self, name: str) -> None:
        """Take a picture."""
        if self.pictures is None:
            return
        await self._page.run("new Promise((done) => setTimeout(done, 300))")
        taken = await self._page.call("Page.captureScreenshot", format="png")
        (self.pictures / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))

    async def _click(self, element: str) -> None:
        before: list[float] = []

        async def steady() -> list[float]:
            nonlocal before
            await asyncio.sleep(_STEADY_S)
            found = await self._page.run(_CENTRE % element)
            same, before = found is not None and found == before, found
            assert same, f"{element} is not there, or moves"
            return before

        x, y = await eventually(steady, 60)
        for kind in ("mousePressed", "mouseReleased"):
            await self._page.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )
        self.clicks += 1

    async def _key(self, name: str) -> None:
        code = {"Enter": 13, "Escape": 27}[name]
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self._page.call(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name,
                windowsVirtualKeyCode=code, **(text if kind == "keyDown" else {}),
            )  # fmt: skip
