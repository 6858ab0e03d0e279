"""A short drill: a fault of each kind once, under load, and every receipt accounted for."""

from pathlib import Path

import pytest

from devstack.drill.figures import figures
from devstack.drill.report import report
from devstack.drill.run import Settings, drill

# Servers killed, connections that end in each way, processes of each role, messages that hurt. The
# drills of `make test-long` have them all.
KINDS = (
    "kill-rabbitmq",
    "kill-redis",
    "kill-mongo",
    "kill-worker",
    "kill-history",
    "stall-amqp",
    "cutafter-redis",
    "refuse-mongo",
    "poison",
    "foreign",
    "crash-task",
    "roll-gateways",
)


@pytest.mark.timeout(900)  # a slow machine heals slowly after each fault
async def test_a_short_drill_loses_nothing(tmp_path: Path):
    settings = Settings(
        folder=tmp_path,
        minutes=0,
        faults=KINDS,
        seed=20,
        submits=12,
        ingests=4,
        batch=60,
        pairs=1,
        quiet_s=(2, 4),
    )
    said: list[str] = []
    result = await drill(settings, said.append)

    told = report(figures(settings, result), result.findings)
    assert not result.findings.faults, "\n".join([*said, told])
    assert {name for episode in result.episodes for name in episode.names} == set(KINDS)
    assert result.findings.counts["tasks accepted, executed"] > 500
    assert result.findings.counts["documents accepted, stored"] > 10_000
    assert result.findings.counts["tasks ended oddly"] > 50
    assert result.findings.counts["slots that took a task at the end"] == 8 + 40 + 2
    assert result.picture.read_text(encoding="utf-8").startswith("<svg")
