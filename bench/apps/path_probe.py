"""A gateway that writes down which modules of ours a request enters: for `bench.path`.

    python -m bench.apps.path_probe, in the folder of a checkout; lines on stdin:

    begin   forget what was seen
    end     print the modules entered since, in order, as one line of JSON

Only functions that are entered count: a coroutine that goes on after an await is not entered again.
Tasks that ran before `begin` under a name of their own are background loops, and left out.
"""

import asyncio
import json
import runpy
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

_OURS = ("gateway", "penstock", "topology")


class Probe:
    """Sees every call of the main thread."""

    def __init__(self) -> None:
        self._entered: list[str] = []
        self._frames: set[FrameType] = set()
        self._background: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Take an event of `sys.setprofile`."""
        if event != "call":
            return
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in _OURS or frame in self._frames:
            return
        try:
            task = asyncio.current_task()
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if task is not None and task.get_name() in self._background:
            return
        self._frames.add(frame)
        self._entered.append(module)

    def begin(self) -> None:
        """Forget what was seen, and leave out what runs by itself."""
        if self._loop is not None:
            names = {task.get_name() for task in asyncio.all_tasks(self._loop)}
            self._background |= {name for name in names if not name.startswith("Task-")}
        self._frames.clear()
        self._entered.clear()

    def end(self) -> list[str]:
        """Return the module of each function entered, in order."""
        return list(self._entered)


def _obey(probe: Probe) -> None:
    for line in sys.stdin:
        if line.strip() == "begin":
            probe.begin()
            print("begun", flush=True)
        else:
            print(json.dumps(probe.end()), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    found = Probe()
    threading.Thread(target=_obey, args=(found,), daemon=True).start()
    sys.argv = ["gateway"]
    sys.setprofile(found)
    runpy.run_module("gateway", run_name="__main__")
