"""schemathesis against the gateway's own OpenAPI document: nothing undocumented, no 500."""

import asyncio
import sys
from pathlib import Path

import pytest

SETTINGS = Path(__file__).parent.parent / "schemathesis.toml"
ALL_SCOPES = ["submit", "read", "ingest", "schedule", "admin"]
OPTIONS = (
    "--checks=all",
    # What depends on two values, or on the layout, is told in words: what fits the schema may still
    # be refused.
    "--exclude-checks=positive_data_acceptance",
    "--phases=coverage,fuzzing",
    "--max-examples=5",
    "--seed=1",
    "--workers=1",  # ast.parse of CPython 3.11 fails now and then when two threads are in it
    "--no-shrink",
    "--continue-on-failure",
    "--request-timeout=15",
    "--exclude-path-regex=stream$",  # tests of their own speak these protocols
    "--generation-database=none",
    "--no-color",
)


@pytest.mark.timeout(300)  # half a minute on two quiet cores
async def test_every_answer_that_schemathesis_gets_is_documented(
    make_gateway, make_keys_file, tmp_path
):
    gateway = await make_gateway(keys_file=make_keys_file(ALL_SCOPES))
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        f"--config-file={SETTINGS}",
        "run",
        str(gateway.make_url("/openapi.json")),
        *OPTIONS,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()

    assert program.returncode == 0, told.decode()
