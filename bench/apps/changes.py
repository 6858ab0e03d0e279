"""The load generator of streams: states written as a worker writes them, at a steady rate.

    python -m bench.apps.changes IDS_FILE RATE SECONDS FINISH

PROGRESS of one task after another for so long; then, with FINISH 1, SUCCESS of each at the same
rate. Every state carries the monotonic clock of its moment (`t=<ns>;`), which other processes of
the machine share. The scripts are the worker's own. Prints one line of JSON.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from penstock.wire.keys import TaskKeys
from penstock.wire.scripts import script

_TURN_S = 0.01
_KEEP_S = 3600


def command(*parts: bytes) -> bytes:
    """A Redis command in RESP."""
    told = [b"*%d\r\n" % len(parts)]
    told += [b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]
    return b"".join(told)


def change(sha: bytes, task_id: str, step: int, *, final: bool) -> bytes:
    """One change of state as `penstock.worker.results.result_backend` stores it."""
    keys = TaskKeys.of(task_id)
    stamp = f"t={time.monotonic_ns()};"
    record: dict[str, object] = {
        "status": "SUCCESS" if final else "PROGRESS",
        "task_id": task_id,
        "name": "demo.progress",
        "worker": "celery@bench",
        "retries": 0,
        "started_at": "2026-01-31T12:00:00.000000+00:00",
        "date_done": "2026-01-31T12:00:00.000000+00:00" if final else None,
        "children": [],
        "traceback": None,
        "result": stamp if final else {"current": step, "total": 1000, "message": stamp},
    }
    body = json.dumps(record, separators=(",", ":"))[1:]
    return command(
        b"EVALSHA", sha, b"4",
        keys.record.encode(), keys.events.encode(), keys.ended.encode(), keys.revoked.encode(),
        body.encode(), b"", b"SUCCESS" if final else b"", b"%d" % _KEEP_S, b"0", b"0",
    )  # fmt: skip


class Writer:
    """One connection to Redis; keeps count and keeps pace."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sha: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._sha = sha
        self.written = 0
        self.refused = 0
        self.latest_s = 0.0
        """How far behind its schedule it was at worst."""

    async def run(self, ids: list[str], rate: float, count: int, *, final: bool) -> None:
        """Write that many changes, task after task, at the rate."""
        started, done = time.monotonic(), 0
        while done < count:
            due = min(count, int((time.monotonic() - started) * rate) + 1)
            if due > done:
                due = min(due, done + 500)
                self._writer.write(
                    b"".join(
                        change(self._sha, ids[n % len(ids)], n // len(ids), final=final)
                        for n in range(done, due)
                    )
                )
                for _ in range(due - done):
                    if await self._reader.readline() != b":1\r\n":
                        self.refused += 1
                done = due
                behind = time.monotonic() - started - done / rate
                self.latest_s = max(self.latest_s, behind)
            await asyncio.sleep(max(0.0, min(_TURN_S, started + done / rate - time.monotonic())))
        self.written += count


async def main() -> None:
    ids = (await asyncio.to_thread(Path(sys.argv[1]).read_text)).split()
    rate, seconds, finish = float(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "1"
    url = urlsplit(os.environ["REDIS_URL"])
    reader, stream = await asyncio.open_connection(url.hostname, url.port)
    stream.write(command(b"SCRIPT", b"LOAD", script("task_record").text.encode()))
    await reader.readline()
    writer = Writer(reader, stream, (await reader.readline()).strip())
    started = time.monotonic()
    await writer.run(ids, rate, int(rate * seconds), final=False)
    if finish:
        await writer.run(ids, rate, len(ids), final=True)
    elapsed = time.monotonic() - started
    print(
        json.dumps(
            {
                "changes": writer.written,
                "refused": writer.refused,
                "seconds": elapsed,
                "rate": writer.written / elapsed,
                "latest_s": writer.latest_s,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main())
