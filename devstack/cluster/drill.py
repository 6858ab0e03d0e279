"""`make cluster-drill`: lose one server after the other, and account for every receipt."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from devstack.cluster.faults import FAULTS, PARTITION_S, Fault, Scene
from devstack.cluster.rig import ClusterRig, running_cluster
from devstack.drill.client import Client
from devstack.drill.ingest_load import IngestLoad
from devstack.drill.load import Steady, SubmitLoad
from devstack.drill.receipts import Ledger
from devstack.drill.reconcile import Findings, reconcile
from devstack.drill.records import Holdings, Servers, read_holdings, wait_until_ended
from devstack.drill.rig import drill_layout
from devstack.errors import StartError
from devstack.install import ensure_servers
from penstock.wire.hosts import each_host

_WARM_UP_S = 5.0
_LAST_LOAD_S = 8.0
_QUIET_S = (4.0, 8.0)
"""Between a healing and the next fault."""
_QUIET_WITHIN_S = 90.0
"""How long no task may end while some are open, before these count as never ended."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a drill of clusters can be told."""

    folder: Path
    minutes: float
    """How long things are broken; 0: each fault once."""
    faults: tuple[str, ...] = tuple(FAULTS)
    seed: int = 0
    partition_s: float = PARTITION_S
    """For how long a node is silent."""
    submits: float = 20.0
    """Tasks a second."""
    ingests: float = 4.0
    """Ingest requests a second."""
    batch: int = 50


@dataclass(slots=True)
class Episode:
    """One fault, and for how long accepts and executions ceased meanwhile."""

    name: str
    began: float
    """Unix time."""
    healed: float = 0.0
    trouble: str = ""
    accept_gap_s: float = 0.0
    execution_gap_s: float = 0.0


@dataclass(slots=True)
class Result:
    """What came out."""

    findings: Findings
    ledger: Ledger
    episodes: list[Episode] = field(default_factory=list)


async def drill(settings: Settings, tell: Callable[[str], None]) -> Result:
    """Run it.

    Raises:
        StartError: the clusters did not start.
    """
    ledger = Ledger()
    env = {"TOPOLOGY_FILE": str(drill_layout(settings.folder))}
    async with running_cluster(
        settings.folder,
        lambda name, state: tell(f"{name}: {state}"),
        env=env,
        app="devstack.drill.worker",
    ) as rig:
        client = Client(rig.gateways, ledger, settings.seed)
        await client.open()
        submits = SubmitLoad(client, ledger, settings.seed)
        ingests = IngestLoad(client, ledger, settings.seed, settings.batch)
        load = (Steady(settings.submits, submits.one), Steady(settings.ingests, ingests.one))
        episodes = await _under_load(load, rig, settings, tell)
        tell("waiting for quiet")
        ids = {one for task in ledger.tasks if task.outcome == "accepted" for one in task.ids}
        ids |= {batch for ingest in ledger.ingests for batch in ingest.batches}
        await wait_until_ended(rig.redis.url, ids, _QUIET_WITHIN_S)
        await client.close()
        holdings = await read_holdings(_servers(rig), ids)
        findings = reconcile(ledger, holdings)
        for part in rig.parts.values():
            for death in part.deaths:
                findings.fault("died by itself", death.told)
        for episode in episodes:
            _judge(episode, ledger, holdings, findings)
    return Result(findings, ledger, episodes)


async def _under_load(
    load: tuple[Steady, ...], rig: ClusterRig, settings: Settings, tell: Callable[[str], None]
) -> list[Episode]:
    chance = random.Random(settings.seed)  # noqa: S311  # no secret
    scene = Scene(rig, chance, settings.partition_s)
    stopping, episodes = asyncio.Event(), []
    async with asyncio.TaskGroup() as group:
        for each in load:
            group.create_task(each.run(stopping))
        try:
            await asyncio.sleep(_WARM_UP_S)
            until = time.monotonic() + settings.minutes * 60
            while True:
                for name in scene.random.sample(settings.faults, len(settings.faults)):
                    episodes.append(await _strike(FAULTS[name], scene, tell))
                    await asyncio.sleep(scene.random.uniform(*_QUIET_S))
                    if settings.minutes and time.monotonic() > until:
                        break
                if time.monotonic() > until:
                    break
            await asyncio.sleep(_LAST_LOAD_S)
        finally:
            stopping.set()
    return episodes


async def _strike(fault: Fault, scene: Scene, tell: Callable[[str], None]) -> Episode:
    episode = Episode(fault.name, time.time())
    tell(f"break: {fault.name}")
    try:
        await fault.strike(scene)
    except (StartError, OSError) as error:
        episode.trouble = str(error)
    episode.healed = time.time()
    tell(f"healed: {fault.name} after {episode.healed - episode.began:.1f} s {episode.trouble}")
    return episode


def _servers(rig: ClusterRig) -> Servers:
    return Servers(
        amqp_url=each_host(rig.rabbit.direct_url)[0],
        management_url=rig.rabbit.management_url,
        redis_url=rig.redis.url,
        mongo_url=rig.mongo.url,
        topology=rig.topology,
    )


def _judge(episode: Episode, ledger: Ledger, holdings: Holdings, findings: Findings) -> None:
    """Measure the gaps of one episode; one that is too long is a fault."""
    accepted = [task.decided_at for task in ledger.tasks if task.outcome == "accepted"]
    executed = [run.at for runs in holdings.runs.values() for run in runs]
    episode.accept_gap_s = longest_gap(accepted, episode.began, episode.healed)
    episode.execution_gap_s = longest_gap(executed, episode.began, episode.healed)
    allowed = FAULTS[episode.name].gap_s
    for what, gap_s in (
        ("no accepts", episode.accept_gap_s),
        ("no executions", episode.execution_gap_s),
    ):
        if gap_s > allowed:
            findings.fault(f"{what} for too long", (episode.name, round(gap_s, 1)))
    if episode.trouble:
        findings.fault("fault not healed", (episode.name, episode.trouble))


def longest_gap(times: list[float], began: float, healed: float) -> float:
    """Return the longest time without an event that begins within a window.

    Args:
        times: Unix times of the events, in any order.
        began: Of the window.
        healed: Its end; a gap may go on behind it.
    """
    ordered = sorted(times)
    before = max((one for one in ordered if one <= began), default=began)
    inside = [before, *(one for one in ordered if began < one <= healed)]
    after = next((one for one in ordered if one > healed), healed)
    return max(later - earlier for earlier, later in zip(inside, [*inside[1:], after], strict=True))


def report(result: Result) -> str:
    """Write what came out, for people."""
    lines = [f"{'fault':<16}{'lasted':>8}{'no accepts':>12}{'no executions':>15}"]
    lines += [
        f"{one.name:<16}{one.healed - one.began:>7.0f}s{one.accept_gap_s:>11.1f}s"
        f"{one.execution_gap_s:>14.1f}s"
        for one in result.episodes
    ]
    lines += [f"{name}: {count:,}" for name, count in sorted(result.findings.counts.items())]
    lines += [
        f"answers {name}: {count:,}" for name, count in sorted(result.ledger.statuses.items())
    ]
    for what, count in result.findings.faults.items():
        lines.append(f"FAULT {what}: {count}, such as {result.findings.examples[what]}")
    return "\n".join(lines)


def main() -> None:
    """Run a drill; the exit status is 1 when something was lost, doubled, or never ended."""
    parser = argparse.ArgumentParser(prog="python -m devstack.cluster.drill", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="0: each fault once")
    parser.add_argument("--faults", default=",".join(FAULTS), help="comma-separated; default all")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 24))  # noqa: S311
    parser.add_argument(
        "--partition", type=float, default=PARTITION_S, help="seconds for which a node is silent"
    )
    given = parser.parse_args()
    faults = tuple(name.strip() for name in given.faults.split(",") if name.strip())
    if strangers := [name for name in faults if name not in FAULTS]:
        parser.error(f"no fault {', '.join(strangers)}; there are {', '.join(FAULTS)}")
    settings = Settings(
        folder=Path(tempfile.mkdtemp(prefix="cluster-drill-")),
        minutes=given.minutes,
        faults=faults,
        seed=given.seed,
        partition_s=given.partition,
    )
    began = time.monotonic()

    def tell(sentence: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {sentence}", flush=True)

    try:
        ensure_servers(clusters=True)
        tell(f"seed {settings.seed}, data and logs in {settings.folder}")
        result = asyncio.run(drill(settings, tell))
    except StartError as error:
        sys.exit(f"make cluster-drill: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(report(result))
    print("FAILED" if result.findings.faults else "nothing lost, nothing twice, everything ended")
    sys.exit(1 if result.findings.faults else 0)


if __name__ == "__main__":
    main()
