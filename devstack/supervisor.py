"""Bring back what dies: at once the first time, then with a growing pause, and visibly.

```
   running ──ends──► wait(pause) ──► starting ──ready──► running
                        ▲               │
                        └──── fails ────┘        pause: 0, 1, 2, 4, 8, 10, 10, … s
```

The pause is forgotten after a minute without a death.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping

from devstack.children import Child
from devstack.errors import StartError
from devstack.process import Unit
from penstock.looper import Looper, plain_line

_LONGEST_PAUSE_S = 10.0
_FORGIVEN_AFTER_S = 60.0
_ASK_EVERY_S = 0.2


class Supervisor:
    """Watches parts that were started.

    Args:
        units: The parts by name.
        say: Told every death and every return, as a sentence.
        port_mappers: RabbitMQ lives on without its own, but could not be started again.
    """

    def __init__(
        self,
        units: Mapping[str, Unit],
        say: Callable[[str], None],
        port_mappers: Iterable[Child] = (),
    ) -> None:
        self._units = units
        self._say = say
        self._port_mappers = tuple(port_mappers)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, unit in self._units.items():
                group.create_task(self._watch(name, unit), name=f"watch {name}")
            for epmd in self._port_mappers:
                group.create_task(self._watch_epmd(epmd), name="watch epmd")

    async def _watch(self, name: str, unit: Unit) -> None:
        pause_s = 0.0
        while True:
            up_since = time.monotonic()
            status = await unit.child.wait()
            if time.monotonic() - up_since > _FORGIVEN_AFTER_S:
                pause_s = 0.0
            self._say(f"{name} ended ({_reason(status)}); starting it again {_when(pause_s)}")
            pause_s = await self._bring_back(name, unit, pause_s)

    async def _bring_back(self, name: str, unit: Unit, pause_s: float) -> float:
        """Start it until it is ready, and return the pause before the next start."""
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(max(1.0, pause_s * 2), _LONGEST_PAUSE_S)
            started = time.monotonic()
            try:
                await unit.kill()  # what the dead one left of its session
                await unit.start()
            except (StartError, OSError) as error:
                with contextlib.suppress(OSError):
                    await unit.kill()
                self._say(f"{name} did not start: {error}\ntrying again {_when(pause_s)}")
            else:
                self._say(f"{name} is back after {time.monotonic() - started:.1f} s")
                return pause_s

    @staticmethod
    async def _watch_epmd(epmd: Child) -> None:
        async def turn() -> None:
            if not epmd.running:
                await epmd.kill()
                epmd.spawn()

        await Looper("epmd", turn, interval_s=_ASK_EVERY_S, tell=plain_line).run()


def _reason(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _when(pause_s: float) -> str:
    return f"in {pause_s:g} s" if pause_s else "at once"
