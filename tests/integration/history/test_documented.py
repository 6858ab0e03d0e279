"""The commands of docs/operating.md, "Finding what failed and running it again", as typed."""

import asyncio
import json
import re
from datetime import timedelta
from typing import Any

from devstack.tree import ROOT
from tests.support.history_documents import NOW, counted, failed


def objects(text: str) -> list[Any]:
    """Return the JSON values of a text."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


async def test_the_commands_find_what_failed_and_run_it_again(make_gateway, history):
    tasks = [
        failed(f"few-{n}", "[]", task="demo.fail", at=NOW - timedelta(minutes=n)) for n in range(3)
    ]
    many = [
        failed(f"many-{n}", f'["again {n}", 0]', task="demo.doze", at=NOW - timedelta(minutes=n))
        for n in range(12)
    ]
    await history.database.tasks.insert_many(tasks + many)
    await history.database.failures.insert_many(counted(tasks + many))
    gateway = await make_gateway(**history.fields)
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    section = page.partition("## Finding what failed and running it again")[2]
    commands = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    assert commands

    shell = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", commands[1], stdout=asyncio.subprocess.PIPE,
        env={"GATEWAY_URL": str(gateway.make_url("")).rstrip("/"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    async with asyncio.timeout(30):
        output, _ = await shell.communicate()
    assert shell.returncode == 0, output

    failures, listed, one, timeline, dry, operation = objects(output.decode())
    assert [group["count"] for group in failures["failures"]] == [12, 3]
    assert len(listed["tasks"]) == 10
    assert (one["id"], one["request"]["args"]) == ("many-0", ["again 0", 0])
    assert timeline["id"] == "many-0"
    assert dry == {"matched": 12, "without_request": 0}
    assert (operation["of"], operation["kind"]) == (12, "retry")
