"""Scripts as real processes, on the loop of a thread as in a worker."""

import asyncio
import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from penstock.worker.running.runtime import Limits, Runtime
from tasks import scripts
from tasks.resources import Context, Resources
from tasks.script_output import MAX_OUTPUT_BYTES, MOST_WAITING
from tasks.scripts import ScriptRefusedError, ScriptTimeoutError
from tasks.store import Store
from tests.support.waiting import eventually

NOWHERE = "mongodb://127.0.0.1:9/none"


class Log:
    """What a context writes, kept."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    async def log(self, line: str, stream: str) -> None:
        self.lines.append((stream, line))

    def log_sync(self, line: str, stream: str) -> None:
        self.lines.append((stream, line))

    async def progress(self, current: float, total: float | None, message: str | None) -> None:
        self.progress_sync(current, total, message)

    def progress_sync(self, current: float, total: float | None, message: str | None) -> None:
        self.lines.append(("progress", f"{current} of {total}: {message}"))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def context(tmp_path: Path, log: Log) -> Context:
    folder = tmp_path / "allowed"
    folder.mkdir()
    return Context(
        task_id="the-task",
        task_name="scripts.run",
        retries=0,
        resources=Resources(store=Store(NOWHERE), scripts_dir=folder),
        writer=log,
    )


def script(context: Context, body: str, name: str = "it.sh") -> str:
    path = context.resources.scripts_dir / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return name


async def run(context: Context, *args: Any, **kwargs: Any) -> dict[str, Any]:
    async with asyncio.timeout(20):
        return await scripts.run(context, *args, **kwargs)


async def test_output_exit_code_and_lines_are_told(context: Context, log: Log):
    name = script(context, 'echo "hello $1"; echo oops >&2; printf "no newline"; exit 3')

    result = await run(context, name, ["you"])

    duration_s = result.pop("duration_s")
    assert result == {
        "exit_code": 3,
        "stdout": "hello you\nno newline",
        "stderr": "oops\n",
        "truncated": False,
    }
    assert 0 < duration_s < 10
    assert [line for stream, line in log.lines if stream == "stdout"] == ["hello you", "no newline"]
    assert ("stderr", "oops") in log.lines


async def test_arguments_reach_the_script_as_they_are(context: Context):
    name = script(context, 'for one in "$@"; do printf "%s|" "$one"; done')
    arguments = ["a b", "$(id)", "; rm -rf x", "`id`", "*", "", "\n", "-é"]

    result = await run(context, name, arguments)

    assert result["stdout"] == "".join(f"{one}|" for one in arguments)


async def test_lines_are_told_while_the_script_runs(context: Context, log: Log, tmp_path: Path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    name = script(context, f"echo first; read line < {gate}; echo last")
    running = asyncio.create_task(run(context, name))

    await eventually(lambda: log.lines == [("stdout", "first")])
    await asyncio.to_thread(gate.write_text, "go\n")

    assert (await running)["stdout"] == "first\nlast\n"


async def test_the_script_sees_no_secret_of_the_worker(
    context: Context, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AMQP_URL", "amqp://user:hunter2@host/")
    name = script(context, "env; cat; pwd")

    result = await run(context, name)

    assert "hunter2" not in result["stdout"]
    assert "PENSTOCK_TASK_ID=the-task\n" in result["stdout"]
    assert result["stdout"].endswith(f"{context.resources.scripts_dir}\n")  # and stdin was empty


@pytest.mark.parametrize(
    "name",
    ["/bin/sh", "../out.sh", "sub/../../out.sh", "link.sh", "no.sh", ".", "", "plain.txt", "a\0b",
     "x" * 5_000],
)  # fmt: skip
async def test_only_programs_of_the_folder_run(context: Context, tmp_path: Path, name: str):
    outside = tmp_path / "out.sh"
    outside.write_text("#!/bin/sh\ntouch ran\n")
    outside.chmod(0o755)
    (context.resources.scripts_dir / "sub").mkdir()
    (context.resources.scripts_dir / "link.sh").symlink_to(outside)
    (context.resources.scripts_dir / "plain.txt").write_text("not executable")

    with pytest.raises(ScriptRefusedError, match="not an executable file"):
        await run(context, name)


async def test_the_absolute_path_of_an_allowed_script_is_refused_too(context: Context):
    name = script(context, "true")

    with pytest.raises(ScriptRefusedError):
        await run(context, str(context.resources.scripts_dir / name))


@pytest.mark.parametrize("arguments", [["a\0b"], [5], ["x" * 200_000], "ab", {"a": 1}])
async def test_arguments_that_no_program_can_get_are_refused(context: Context, arguments):
    name = script(context, "true")

    with pytest.raises(ScriptRefusedError):
        await run(context, name, arguments)


async def test_a_script_without_an_interpreter_is_refused(context: Context):
    (context.resources.scripts_dir / "bad").write_text("#!/no/such/program\n")
    (context.resources.scripts_dir / "bad").chmod(0o755)

    with pytest.raises(ScriptRefusedError, match="cannot be executed"):
        await run(context, "bad")


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), 1e9])
async def test_a_senseless_time_limit_is_refused(context: Context, timeout_s: float):
    name = script(context, "true")

    with pytest.raises(ScriptRefusedError, match="timeout_s"):
        await run(context, name, timeout_s=timeout_s)


async def test_out_of_time_the_whole_process_group_is_killed(context: Context, log: Log):
    name = script(context, "sleep 300 & echo $!; trap '' TERM; while :; do sleep 1; done")

    with pytest.raises(ScriptTimeoutError, match=r"it\.sh was killed after 0\.5 s"):
        await run(context, name, timeout_s=0.5)

    await eventually(lambda: not alive(int(log.lines[0][1])))


async def test_a_script_out_of_time_may_clean_up_first(context: Context):
    name = script(
        context, "trap 'touch cleaned; exit 0' TERM; echo on; while :; do sleep 0.1; done"
    )

    with pytest.raises(ScriptTimeoutError):
        await run(context, name, timeout_s=0.5)

    assert (context.resources.scripts_dir / "cleaned").exists()


async def test_a_cancelled_task_leaves_no_process(context: Context, log: Log):
    name = script(context, "echo $$; sleep 300")
    running = asyncio.create_task(run(context, name))
    await eventually(lambda: log.lines)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not alive(int(log.lines[0][1]))


async def test_what_a_script_leaves_in_the_background_ends_with_it(context: Context):
    name = script(context, "sleep 300 & echo $!; exit 4")

    result = await run(context, name)

    assert result["exit_code"] == 4
    await eventually(lambda: not alive(int(result["stdout"])))


async def test_a_daemon_that_keeps_the_pipes_does_not_keep_the_task(context: Context):
    name = script(context, 'setsid sh -c "echo \\$\\$; sleep 300" & sleep 0.2; exit 0')

    result = await run(context, name, timeout_s=15)

    assert result["exit_code"] == 0
    assert result["duration_s"] < 5
    os.kill(int(result["stdout"]), signal.SIGKILL)


async def test_a_signal_is_a_negative_exit_code(context: Context):
    assert (await run(context, script(context, "kill -9 $$")))["exit_code"] == -9


async def test_output_is_bounded_and_its_flood_does_not_block_the_script(
    context: Context, log: Log
):
    name = script(context, "yes 0123456789 | head -n 200000; echo end >&2")  # 2.2 MB

    result = await run(context, name)

    assert result["exit_code"] == 0
    assert result["truncated"] is True
    assert len(result["stdout"]) == MAX_OUTPUT_BYTES
    assert result["stderr"] == "end\n"
    assert sum(len(line) + 1 for _, line in log.lines) < MAX_OUTPUT_BYTES + 100


async def test_of_more_lines_than_can_be_logged_the_latest_are_and_the_rest_is_counted(
    context: Context, log: Log
):
    name = script(context, f"yes '' | head -c {MAX_OUTPUT_BYTES + 100_000}")

    await run(context, name)

    left_out = [int(line.split()[1]) for _, line in log.lines if line.endswith("lines left out")]
    logged = len(log.lines) - len(left_out)
    assert logged + sum(left_out) == MAX_OUTPUT_BYTES
    assert logged < 10 * MOST_WAITING


async def test_an_endless_line_is_logged_in_pieces(context: Context, log: Log):
    name = script(context, "head -c 20000 /dev/zero | tr '\\0' x")

    result = await run(context, name)

    assert [len(line) for _, line in log.lines] == [8192, 8192, 3616]
    assert result["stdout"] == "x" * 20_000


async def test_bytes_that_are_no_text_are_replaced(context: Context, log: Log):
    result = await run(context, script(context, r"printf 'a\377\r\nb'"))

    assert result["stdout"] == "a\ufffd\r\nb"
    assert log.lines == [("stdout", "a\ufffd"), ("stdout", "b")]


def test_a_script_runs_on_the_loop_of_a_worker_process(context: Context):
    runtime = Runtime("redis://127.0.0.1:9/0")

    result = runtime.run("id", lambda: scripts.run(context, script(context, "echo hi")), Limits())

    assert result["stdout"] == "hi\n"


def test_a_time_limit_of_the_task_kills_the_script(context: Context, log: Log):
    runtime = Runtime("redis://127.0.0.1:9/0")
    name = script(context, "echo $$; sleep 300")

    with pytest.raises(SoftTimeLimitExceeded):
        runtime.run("id", lambda: scripts.run(context, name), Limits(hard_s=10, soft_s=0.5))

    assert not alive(int(log.lines[0][1]))


@pytest.mark.parametrize("name", ["hello.sh", "heartbeat.sh", "countdown.sh"])
async def test_the_shipped_scripts_run(context: Context, name: str):
    folder = Path(scripts.__file__).parent / "scripts_allowed"
    context.resources = dataclasses.replace(context.resources, scripts_dir=folder)

    assert (await run(context, name, ["1"]))["exit_code"] == 0


def alive(pid: int) -> bool:
    """Whether the process lives; a zombie that nobody has reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
