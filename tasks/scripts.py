"""The task that runs a program of the allow-listed folder: no shell, bounded in time and output."""

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.worker.errors import TaskError
from tasks.resources import Context
from tasks.script_output import Capture, Lines

MAX_TIMEOUT_S = 86_400.0

KILL_GRACE_S = 2.0
"""From SIGTERM to SIGKILL."""

PIPE_GRACE_S = 1.0
"""How long pipes are read after the script and its process group ended."""


class ScriptRefusedError(TaskError):
    """The script is not in the allow-listed folder, or cannot be executed with these arguments."""


class ScriptTimeoutError(TaskError):
    """The script ran longer than `timeout_s`; its process group was killed."""


async def run(
    context: Context,
    script: str,
    arguments: list[str] | None = None,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Run a script of the worker's allow-listed folder and return its exit code and output.

    Each line of output is a log line of the task while the script runs; where they come faster than
    they can be logged, the log says how many were left out. An exit code other than 0
    is a result like any other (the task is SUCCESS): what it means is the script's business, and
    its output would be lost in a FAILURE. At least once: a worker that dies with the script
    running leaves the task to another worker, which runs the script again.

    Args:
        context: of this execution.
        script: path inside the allow-listed folder, `hello.sh`.
        arguments: handed to the script as they are; no shell sees them.
        timeout_s: up to 86,400; then the script's process group gets SIGTERM, and SIGKILL two
            seconds later, and the task is FAILURE. The same happens when the task is cancelled.

    Returns:
        `{"exit_code", "stdout", "stderr", "truncated", "duration_s"}`; a negative exit code is the
        signal that ended the script. `truncated`: more than 256 KiB came on one of the two.

    Raises:
        ScriptRefusedError: no such script in the folder, or it cannot be executed.
        ScriptTimeoutError: out of time.
    """
    if not isinstance(arguments, list | None):  # a text would be an argument for each character
        raise ScriptRefusedError("arguments must be a list of strings")
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise ScriptRefusedError(f"timeout_s must be over 0 and at most {MAX_TIMEOUT_S:.0f}")
    program = await asyncio.to_thread(find, context.resources.scripts_dir, script)
    lines = Lines()
    started = time.monotonic()
    async with Capture(lines, "stdout") as out, Capture(lines, "stderr") as err:
        process = await _start(program, arguments or [], context.task_id, (out, err))
        logging = asyncio.create_task(lines.forward(context.log), name=f"log {script}")
        try:
            async with asyncio.timeout(timeout_s):
                await _finish(process, (out, err))
        except TimeoutError:
            raise ScriptTimeoutError(f"{script} was killed after {timeout_s:g} s") from None
        except asyncio.CancelledError:
            logging.cancel()
            raise
        finally:
            await _stop(process)
            lines.end()
            with contextlib.suppress(asyncio.CancelledError):
                await logging
    return {
        "exit_code": process.returncode,
        "stdout": out.text,
        "stderr": err.text,
        "truncated": out.truncated or err.truncated,
        "duration_s": round(time.monotonic() - started, 3),
    }


def find(folder: Path, script: str) -> Path:
    """Return the program that `script` names, or refuse.

    Raises:
        ScriptRefusedError: it is absolute, leaves the folder (also through a symbolic link), or is
            not an executable file.
    """
    root = folder.resolve()
    try:
        program = (root / script).resolve(strict=True)
    except (OSError, ValueError):  # absent, too long, NUL in the name
        program = root
    inside = not Path(script).is_absolute() and program.is_relative_to(root)
    if not (inside and program.is_file() and os.access(program, os.X_OK)):
        raise ScriptRefusedError(
            f"{script[:200]!r} is not an executable file of the scripts folder"
        )
    return program


def environment(task_id: str) -> dict[str, str]:
    """Return all that a script sees of the worker's environment: nothing, so no secret."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/tmp",  # noqa: S108 -- not a file of ours: the only writable folder of the image
        "PENSTOCK_TASK_ID": task_id,
    }


async def _start(
    program: Path,
    arguments: Sequence[str],
    task_id: str,
    captures: tuple[Capture, Capture],
) -> Process:
    # An application may run its workers on uvloop, which would cut an argument off at its NUL.
    if not all(isinstance(one, str) and "\0" not in one for one in arguments):
        raise ScriptRefusedError("arguments must be strings without NUL")
    out, err = captures
    try:
        return await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out.write_end,
            stderr=err.write_end,
            cwd=program.parent,
            env=environment(task_id),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # no interpreter, arguments too long
        raise ScriptRefusedError(f"{program.name} cannot be executed: {error}") from error
    finally:
        out.close_write_end()
        err.close_write_end()


async def _finish(process: Process, captures: tuple[Capture, Capture]) -> None:
    """Read until the script ended, end what it left in its group, and read the rest."""
    readers = [asyncio.create_task(capture.read()) for capture in captures]
    try:
        await process.wait()
        _signal_group(process, signal.SIGKILL)
        # A descendant in a session of its own may hold the pipes open: no longer than this.
        await asyncio.wait(readers, timeout=PIPE_GRACE_S)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _stop(process: Process) -> None:
    """End the process group: asked first, then killed, also when this waiting is cancelled."""
    if process.returncode is not None:
        return
    _signal_group(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(KILL_GRACE_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        _signal_group(process, signal.SIGKILL)
    await process.wait()


def _signal_group(process: Process, number: signal.Signals) -> None:
    """Signal the group that the script leads; it may have no member left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
