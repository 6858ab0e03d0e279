"""The console against everything, in a real browser: each view, each action, for everybody."""

from typing import Any

import aio_pika

from devstack.children import RUN_MARK
from devstack.product import Launcher, WorkerSpec
from tests.browsing.console import Console, built, call, state, submit
from tests.support.waiting import eventually

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESK = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}

BEYOND = """
[...document.querySelectorAll('.table .row :is(button, a)')].find((one) => {
  const table = one.closest('.table');
  return getComputedStyle(table).overflowX === 'visible'
    && one.getBoundingClientRect().right > table.getBoundingClientRect().right + 1;
})?.textContent
"""
"""What stands beyond the edge of its table, where that does not scroll."""


async def queue(http: Any, name: str) -> dict[str, Any]:
    rows = (await call(http, "GET", "/v1/queues"))["queues"]
    return next(one for one in rows if one["name"] == name)


async def dead_letter(stack: Any, body: bytes = b"no json", **headers: str) -> None:
    """Have a worker refuse a message."""
    async with await aio_pika.connect(stack.amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("tasks", ensure=False)
        message = aio_pika.Message(
            body,
            headers={"id": "dead", "task": "demo.add", "lang": "py", **headers},
            content_type="application/json",
            content_encoding="utf-8",
            message_id="dead",
        )
        await exchange.publish(message, "default")


async def test_every_view_is_for_everybody_light_and_dark_and_on_a_phone(stack, http, console):
    await built(check=True)
    running = await submit(http, "demo.progress", 400, 0.1)
    failed = await submit(http, "demo.fail", "no such column")
    assert await state(http, failed, 20) == "FAILURE"
    schedule = {"task": "demo.add", "args": [1, 2], "every": 3600}
    await call(http, "PUT", "/v1/schedules/seen", schedule)
    await dead_letter(stack)
    views = {
        "/": "step",
        "/queues/default": "Last hour",
        "/failures": "no such column",
        "/tasks?state=FAILURE": "no such column",
        f"/tasks/{failed}": "no such column",
        f"/tasks/{running}": "step",
        "/workers": "asyncio@",
        "/schedules": "seen",
        "/dead-letters/default": "Body",
        "/submit?task=demo.progress": "steps",
        "/api/post-v1-tasks": "POST",
    }
    await console.page.call("Emulation.setDeviceMetricsOverride", **DESK)
    await console.open()
    wrong: list[str] = []
    for view, words in views.items():
        await console.go(view)
        await console.sees(words)
        for width in (DESK, PHONE):
            await console.page.call("Emulation.setDeviceMetricsOverride", **width)
            across = "document.documentElement.scrollWidth - innerWidth"
            if await console.page.run(across) > 0:
                wrong.append(f"{view} at {width['width']} px is too wide")
            if beyond := await console.page.run(BEYOND):
                wrong.append(f"{view} at {width['width']} px: {beyond} is beyond its table")
        for scheme in ("light", "dark"):
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            await console.page.call("Emulation.setEmulatedMedia", features=media)
            wrong += [f"{view} in {scheme}: {one}" for one in await console.axe()]
        await console.page.call("Emulation.setDeviceMetricsOverride", **DESK)
    await console.go("/")
    await console.click("Pause")
    wrong += [f"a dialog: {one}" for one in await console.axe()]
    assert not wrong, "\n".join(wrong)

    await call(http, "DELETE", f"/v1/tasks/{running}?terminate=true")
    await call(http, "DELETE", "/v1/schedules/seen")
    await call(http, "POST", "/v1/dead-letters/default/discard", {"all": True})


async def test_a_task_is_submitted_by_a_form_of_its_schema_and_followed(http, console):
    await console.open("/submit")
    await console.fill(".picker input", "progress")
    await console.click("demo.progress")
    await console.fill("#field-steps", "600")
    await console.click("Submit", "#submit-form")
    await console.sees("PROGRESS", "#sent")
    await console.go("/")
    await console.sees("of 600", ".t-running")
    # Each animation is a layer of its own: of a hundred rows, most of a frame's time.
    assert await console.page.run("document.getAnimations().length") == 0
    await console.click("Terminate", ".t-running")
    await console.confirm("Terminate 1 task", "One task, demo.progress")
    await console.sees("Nothing runs", "#running", 20)

    await console.go("/submit?task=scripts.run")
    await console.fill("#field-script", "countdown.sh")
    await console.fill("#field-arguments", '["2"]')
    await console.click("Submit", "#submit-form")
    await console.sees("STARTED", "#sent")
    task = await console.page.run("document.querySelector('#sent a').title")
    await console.go(f"/tasks/{task}")
    await console.sees("SUCCESS", ".task-head", 20)
    await console.sees("exit_code")


async def test_a_queue_is_paused_resumed_and_purged(http, console):
    await console.open("/queues/ranked")
    await console.click("Pause")
    await console.confirm("Pause", "No worker")
    await console.sees("paused", "#queue")
    assert (await queue(http, "ranked"))["paused"] is True
    bodies = [{"task": "demo.add", "args": [1, 2], "options": {"queue": "ranked"}}] * 60
    tasks = [one["id"] for one in await call(http, "POST", "/v1/tasks/bulk", bodies)]
    await eventually(lambda: ready(http, "ranked"), 15)
    await console.sees("Ready\n", "#queue")
    await console.click("Purge")
    await console.confirm("Purge", "will end REVOKED")
    await console.sees(" done", ".toasts")
    await console.click("Resume")
    await console.confirm("Resume", "Workers go on")
    await eventually(lambda: resumed(http, "ranked"))
    ends = [await state(http, one, 10) for one in tasks]
    assert set(ends) <= {"REVOKED", "SUCCESS"}  # a worker may have been sent some before
    assert ends.count("REVOKED") >= 3


async def ready(http: Any, name: str) -> bool:
    return int((await queue(http, name)).get("ready", 0)) >= 3


async def resumed(http: Any, name: str) -> bool:
    return (await queue(http, name))["paused"] is False


async def test_a_schedule_is_made_run_switched_off_changed_and_deleted(http, console):
    await console.open("/schedules")
    await console.click("New schedule")
    await console.fill("#schedule-name", "by hand")
    await console.fill("#schedule-task", "demo.add")
    await console.fill("#schedule-args", "[20, 22]")
    await console.fill("#schedule-every", "3600")
    await console.click("Save")
    await console.confirm("Make 1 schedule", "One schedule")
    await console.sees("by hand", ".t-schedules")
    await console.click("Run now by hand")
    await console.confirm("Run 1 task", "One task")
    await console.sees("Submitted demo.add", ".toasts")
    await console.page.run("document.querySelector('[aria-label=\"by hand runs\"]').click()")
    await console.confirm("Switch off", "One schedule")

    async def kept(**wanted: Any) -> bool:
        found = await call(http, "GET", "/v1/schedules/by%20hand")
        assert found | wanted == found, found
        return True

    await eventually(lambda: kept(enabled=False, every=3600))
    await console.click("New schedule")
    await console.fill("#schedule-name", "by hand")
    await console.fill("#schedule-task", "demo.echo")
    await console.click("Save")
    await console.sees("Replace by hand, which runs demo.add?", "dialog")
    await console.sees("every 1 h", "dialog")
    assert await console.page.run("!!document.querySelector('dialog button.danger')")
    await console.click("Cancel", "dialog")
    await console.click("Cancel", ".editor")
    assert await kept(task="demo.add")
    await console.click("Edit by hand")
    await console.fill("#schedule-kind", "crontab")
    await console.fill("#schedule-cron", "5 4 * * 1")
    await console.click("Save")
    await console.confirm("Change 1 schedule")
    await console.sees("5 4 * * 1", ".t-schedules")
    await console.click("Delete by hand")
    await console.confirm("Delete 1 schedule", "One schedule")
    async with http.get("/v1/schedules/by%20hand") as response:
        assert response.status == 404


async def test_dead_letters_are_read_replayed_and_discarded(stack, http, console):
    await dead_letter(stack, b"first")
    await console.open("/dead-letters/default")
    await console.click("Body", "#letters")
    await console.sees("first", ".example")
    await console.click("Replay dead", "#letters")
    await console.confirm("Replay 1 letter", "1 letter")
    await console.sees("1 letter replayed", ".toasts")
    await console.sees("Discard all 1", "#letters", 30)  # its body is as bad as before
    await console.click("Discard all 1", "#letters")
    await console.confirm("Discard 1 letter", "removed for good")
    await console.sees("No message of default has died", "#letters")


async def test_workers_are_told_what_to_do(stack, http, console, tmp_path):
    launcher = Launcher(env=stack.env, logs=tmp_path, mark=RUN_MARK)
    spec = WorkerSpec(name="spare", pool="prefork", queues=("ranked",), concurrency=2)
    worker = launcher.worker(spec)
    await worker.start()
    try:
        await console.open("/workers")
        await console.sees("spare@", timeout_s=20)
        await console.click("Commands for spare")
        await console.fill(".commands select", "scripts")
        await console.click("Consume", ".commands")
        await console.confirm("Consume", "One worker")
        await console.sees("spare@", ".toasts")
        await console.click("+ slot", ".commands")
        await console.confirm("Add 1 slot", "2 tasks at a time; then 3")
        await console.sees("/ 3", ".t-workers", 20)
        await console.click("Shut down", ".commands")
        await console.confirm("Shut down 1 worker", "stops")
        await eventually(lambda: not worker.child.running, 20)
    finally:
        await worker.child.stop(10)


async def key(console: Console, name: str, text: str = "", modifiers: int = 0) -> None:
    codes = {"Tab": 9, "Enter": 13, "Escape": 27}
    for kind in ("keyDown", "keyUp"):
        await console.page.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=name,
            code=name,
            windowsVirtualKeyCode=codes[name],
            modifiers=modifiers,
            **({"text": text} if text and kind == "keyDown" else {}),
        )


async def focused(console: Console) -> str:
    return str(await console.page.run("document.activeElement.textContent.trim()"))


async def test_a_keyboard_is_enough(console):
    await console.open()
    await console.sees("default", ".t-queues")
    await key(console, "Tab")
    assert await focused(console) == "Skip to content"
    await key(console, "Enter", "\r")
    for _ in range(12):
        await key(console, "Tab")
        if (await focused(console)).startswith("Pause"):
            break
    await key(console, "Enter", "\r")
    await console.sees("No worker", "dialog[open]")
    inside = [await focused(console)]
    for _ in range(2):
        await key(console, "Tab")
        inside.append(await focused(console))
    assert {"Cancel", "Pause"} <= set(inside)
    await key(console, "Escape")
    await eventually(lambda: console.page.run("!document.querySelector('dialog[open]')"))
    assert (await focused(console)).startswith("Pause default")


async def test_a_link_shows_its_filters_and_a_filter_makes_a_link(console):
    await console.open("/tasks?state=FAILURE,RETRY&task=reports.*")
    pressed = "[...document.querySelectorAll('[aria-pressed=true]')].map((one) => one.innerText)"
    assert await console.page.run(pressed) == ["RETRY", "FAILURE"]
    await console.click("REVOKED")
    await console.fill("[name=worker]", "celery@w1")
    address = await console.page.run("location.hash")
    assert address == ("#/tasks?state=RETRY%2CFAILURE%2CREVOKED&task=reports.*&worker=celery%40w1")


FIELDS = "[...document.querySelectorAll('#submit-form .field :is(input, textarea)')]"


async def filled(console: Console, *values: str) -> None:
    """Wait until the form has these values in its first fields."""

    async def there() -> bool:
        found = await console.page.run(f"{FIELDS}.map((one) => one.value)")
        assert tuple(found[: len(values)]) == values, found
        return True

    await eventually(there, 10)


async def test_a_task_is_found_by_its_id_and_submitted_with_other_arguments(http, console):
    failed = await submit(http, "demo.fail", "no such column")
    assert await state(http, failed, 20) == "FAILURE"
    await console.open("/tasks")
    await console.fill("[name=q]", failed)
    await console.sees("FAILURE", ".task-head")
    await console.click("Correct and submit")
    await filled(console, "no such column")
    await console.go("/")
    await console.sees("default", ".t-queues")
    await console.go("/submit?task=demo.fail")
    await filled(console, "")


async def test_a_dead_letter_is_submitted_corrected(stack, console):
    await dead_letter(stack, b'[[2], {"y": 3}, {}]', eta="soon")
    await console.open("/dead-letters/default")
    await console.click("Body", "#letters")
    await console.click("Correct and submit", ".example")
    await filled(console, "2", "3")
    await console.fill("#field-y", "40")
    await console.click("Submit", "#submit-form")
    await console.sees("42", "#sent")
    await console.go("/dead-letters/default")
    await console.click("Discard", ".t-letters")
    await console.confirm("Discard 1 letter")
    await console.sees("No message of default has died", "#letters")
