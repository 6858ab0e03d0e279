"""`python -m bench PART…`: measure, print, write results and charts."""

import argparse
import asyncio
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import (
    bulk,
    canvas,
    churn,
    console,
    distance,
    history,
    history_beside,
    history_queries,
    hostile_bodies,
    ingest,
    latency,
    memory,
    outage,
    path,
    results,
    scaling,
    sleepers,
    soak,
    streams,
    submits,
    table,
    task_latency,
    task_states,
    there_and_back,
    worker_documents,
    worker_memory,
    workers,
)
from bench.contestants import FULL, QUICK, Contestant
from bench.peers import install
from bench.report import Context, Report
from bench.rounds import Plan
from bench.servers import running, versions
from bench.wrk import Load
from devstack.errors import StartError

PARTS: Mapping[str, Callable[[Context], Awaitable[Report]]] = {
    "submits": lambda context: submits.compare(context, FULL),
    "bulk": bulk.compare,
    "canvas": canvas.compare,
    "ingest": lambda context: ingest.sustained(context, 60.0, 3),
    "single-documents": ingest.single,
    "memory": memory.stream,
    "idle-latency": latency.added,
    "scaling-submits": scaling.submits,
    "scaling-documents": scaling.documents,
    "sockets": streams.crowd,
    "submits-beside-sockets": streams.submits_beside,
    "watching-peers": streams.peers,
    "churn": churn.churn,
    "redis-killed": outage.outage,
    "workers": workers.compare,
    "sleepers": sleepers.compare,
    "task-latency": task_latency.compare,
    "worker-documents": worker_documents.compare,
    "there-and-back": there_and_back.compare,
    "worker-memory": worker_memory.compare,
    "distance": distance.compare,
    "redis": task_states.compare,
    "history": history.compare,
    "history-beside": history_beside.compare,
    "soak": soak.compare,
    "hostile-bodies": hostile_bodies.compare,
    "path": path.compare,
    "history-queries": history_queries.compare,
    "console-first-view": console.first_view,
    "console-changes": console.changes,
}
"""What `full` runs, in this order, but `LONG`; each can be named alone."""
LONG = frozenset({"soak"})
"""An hour on its own."""


def main() -> int:
    """Run what the arguments say; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("part", nargs="+", choices=("quick", "full", *PARTS))
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="length of one run")
    parser.add_argument("--tasks", type=int, default=0, help="of a soak")
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--only", default="", help="contestants by name, separated by commas")
    parser.add_argument("--server-cpus", default="", help="processors of the contestants")
    parser.add_argument("--load-cpus", default="", help="processors of the load generator")
    parser.add_argument(
        "--tree", type=Path, help="another checkout, for hostile-bodies, path, redis"
    )
    parser.add_argument("--no-save", action="store_true", help="write neither results nor charts")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # 10,000 sockets; children inherit it
    try:
        asyncio.run(_run(options))
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    quick = options.part == ["quick"]
    plan = Plan(
        rounds=options.rounds or (5 if quick else 7),
        load=Load(connections=options.connections, seconds=options.seconds or (5 if quick else 8)),
        seconds=options.seconds,
        server_cpus=options.server_cpus,
        load_cpus=options.load_cpus,
        tree=options.tree,
        tasks=options.tasks,
    )
    asked = [name for name in PARTS if name not in LONG] if "full" in options.part else options.part
    names = [name for name in asked if name in PARTS]
    contestants: Sequence[Contestant] = QUICK if quick else FULL
    if options.only:
        contestants = tuple(one for one in FULL if one.name in options.only.split(","))
    if quick or "submits" in names:
        for group in sorted({one.venv for one in contestants}):
            install(group)
    parts: dict[str, Callable[[Context], Awaitable[Report]]] = {name: PARTS[name] for name in names}
    if quick or "submits" in names:
        parts["submits"] = lambda context: submits.compare(context, contestants)
    if quick:
        parts["workers"] = workers.glance
    elif options.only and "workers" in names:
        pools = [name for name in workers.POOLS if name in options.only.split(",")]
        parts["workers"] = lambda context: workers.compare(context, pools)
    print(f"load: {plan.load.told()}, {plan.rounds} rounds\n", flush=True)
    reports = []
    async with running(mongo=not quick) as servers:
        context = Context(servers=servers, plan=plan, tell=_tell)
        for part in parts.values():
            reports.append(await part(context))
            print(reports[-1].text, end="\n\n", flush=True)
        found = versions(servers)
    goals = [goal for report in reports for goal in report.goals]
    print(table.scoreboard(goals))
    if options.no_save:
        return
    path = results.save(
        options.part[0],
        {"servers": found, "goals": goals, **{one.name: one.data for one in reports}},
        {**asdict(plan), "load_command": plan.load.told()},
    )
    for report in reports:
        for name, svg in report.charts.items():
            results.draw(name, svg)
    _tell(f"written: {path} and charts beside it")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
