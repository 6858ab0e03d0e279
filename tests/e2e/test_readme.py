"""The README's examples, run as they are printed."""

import asyncio
import json
import re

from devstack.tree import ROOT


async def test_the_examples_do_what_they_say(stack, tmp_path):
    found = re.search(
        r"<!-- run by tests/e2e/test_readme.py -->\n```bash\n(.*?)```",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found
    folder = tmp_path / ".devstack"
    folder.mkdir()
    (folder / "env").write_text(f"GATEWAY_URL={stack.gateway_url}\n", encoding="utf-8")

    shell = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", found[1], cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, _ = await shell.communicate()
    text = output.decode()

    assert shell.returncode == 0, text
    decoder = json.JSONDecoder()
    task, end = decoder.raw_decode(text)
    assert (task["state"], task["result"]) == ("SUCCESS", 3)
    stored, end = decoder.raw_decode(text, end)
    assert stored["stored"] == 2
    assert '"PROGRESS"' in text[end:]
    assert '"SUCCESS"' in text[end:]
