"""Clients and yardsticks that run as processes of their own and print one line of JSON."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from bench.contestants import API_KEY
from devstack.errors import StartError
from devstack.product import ROOT


async def run(module: str, *arguments: object, env: Mapping[str, str]) -> Any:
    """Run `python -m module arguments…` to its end and return what it printed last.

    Raises:
        StartError: It failed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *(str(argument) for argument in arguments),
        env={**os.environ, **env, "PYTHONPATH": str(ROOT), "API_KEY": API_KEY},
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise StartError(f"{module} failed with {process.returncode}:\n{errors.decode()[-3000:]}")
    return json.loads(output.splitlines()[-1])
