"""Replay and discard of all letters in the console: those that were shown, and no later ones."""

import pytest

from devstack import console as building
from tests.browsing.console import console_page
from tests.support.dead_letters import look


@pytest.fixture(autouse=True, scope="module")
def _built():
    """Build before a gateway starts: it serves what it has read then."""
    assert building.build()


@pytest.fixture
async def console(client):
    async with console_page(f"http://127.0.0.1:{client.port}") as page:
        yield page


@pytest.mark.parametrize("names", [("one", "two"), ("same", "same")])
async def test_a_letter_that_dies_while_the_dialog_asks_stays(broker, client, console, names):
    for name in names:
        await broker.reject(name)
    await broker.has("default.dead", 2)
    await console.open("/dead-letters/default")
    await console.click("Discard all 2", "#letters")
    await console.sees("removed for good", "dialog")
    await broker.reject("late")
    await broker.has("default.dead", 3)

    await console.click("Discard 2 letters", "dialog")

    await console.sees("2 letters discarded, 1 remain", ".toasts")
    assert [one["id"] for one in (await look(client))["letters"]] == ["late"]
    await console.click("Replay all 1", "#letters")
    await console.sees("published again", "dialog")
    await broker.reject("later")
    await broker.has("default.dead", 2)

    await console.click("Replay 1 letter", "dialog")

    await console.sees("1 letter replayed, 1 remain", ".toasts")
    assert [one["id"] for one in (await look(client))["letters"]] == ["later"]
