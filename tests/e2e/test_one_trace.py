"""Two minutes of load with tracing on: every sampled request is one connected tree."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devstack.otlp import Receiver, Span, receiving
from devstack.stack import Stack
from tests.support.waiting import eventually

SECONDS = 120
CLIENTS = 12
ADD: dict[str, Any] = {"task": "demo.add", "args": [1, 2]}
NEXT: dict[str, Any] = {"task": "demo.add", "args": [3]}


def requests(callback: str) -> list[tuple[str, Any]]:
    """One of each kind."""
    header = [{**ADD, "args": [number, 2]} for number in range(3)]
    body = {"task": "demo.sleep", "args": [0.01], "immutable": True}
    return [
        ("/v1/tasks", ADD),
        ("/v1/tasks", {**ADD, "options": {"callback_url": callback}}),
        ("/v1/tasks?wait=10", {"task": "demo.sleep", "args": [0.05]}),
        ("/v1/tasks/bulk", [ADD] * 5),
        ("/v1/canvas", {"chain": [ADD, NEXT, NEXT]}),
        ("/v1/canvas", {"chord": {"header": header, "body": body}}),
        ("/v1/ingest/things?ack=stored", [{"n": number} for number in range(20)]),
        ("/v1/ingest/things", {"n": 1}),
    ]


async def load(session: aiohttp.ClientSession, callback: str) -> int:
    """Send requests of every kind for a while; return how many."""
    end = time.monotonic() + SECONDS
    kinds, sent = requests(callback), 0

    async def client(seed: int) -> None:
        nonlocal sent
        chosen = random.Random(seed)
        while time.monotonic() < end:
            path, body = chosen.choice(kinds)
            async with session.post(path, json=body) as answer:
                assert answer.status in {200, 202, 207}, await answer.text()
                await answer.read()
            sent += 1
            await asyncio.sleep(chosen.random() * 0.6)

    await asyncio.gather(*map(client, range(CLIENTS)))
    return sent


def torn(receiver: Receiver) -> dict[str, Counter[str]]:
    """The traces that are no tree from one request down to an execution of each message."""
    traces: dict[str, dict[str, Span]] = defaultdict(dict)
    for span in receiver.spans:
        traces[span.trace_id][span.span_id] = span
    found = {}
    for trace_id, spans in traces.items():
        roots = [span for span in spans.values() if span.parent_id not in spans]
        parents = {span.parent_id for span in spans.values() if span.name.startswith("execute")}
        lost = [one for one in spans.values() if one.name.startswith("publish")]
        lost = [one for one in lost if one.span_id not in parents]
        if [root.parent_id for root in roots] != [""] or lost:
            found[trace_id] = Counter(one.name for one in (*roots, *lost))
    return found


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_every_sampled_request_is_one_connected_tree(tmp_path: Path):
    async with receiving() as receiver:
        env = {
            "TRACING": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.2",
            "OTEL_BSP_MAX_QUEUE_SIZE": "20000",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            "CALLBACK_HOSTS": "127.0.0.1",
            "CALLBACK_ALLOW_PRIVATE": "1",
            "CALLBACK_SECRET": "secret",
        }
        async with Stack(tmp_path, env=env) as stack:
            async with aiohttp.ClientSession(stack.gateway_url) as session:
                sent = await load(session, f"{receiver.url}/done")
            await eventually(lambda: not torn(receiver), 120, 1)
        traces = {span.trace_id for span in receiver.spans}
        assert sent * 0.1 < len(traces) < sent * 0.3
        assert not torn(receiver)
