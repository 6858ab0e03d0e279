"""A short drill: every kind of fault once, under load, and every receipt accounted for."""

from pathlib import Path

import pytest

from devstack.drill.faults import FAULTS
from devstack.drill.report import report
from devstack.drill.run import Settings, drill


@pytest.mark.timeout(400)
async def test_a_drill_with_every_fault_loses_nothing(tmp_path: Path):
    settings = Settings(
        folder=tmp_path,
        minutes=0,
        faults=tuple(FAULTS),
        seed=20,
        submits=25,
        ingests=8,
        pairs=1,
        quiet_s=(2, 4),
    )
    said: list[str] = []
    result = await drill(settings, said.append)

    told = report(result.ledger, result.findings, result.timeline, result.episodes)
    assert not result.findings.faults, "\n".join([*said, told])
    assert {name for episode in result.episodes for name in episode.names} == set(FAULTS)
    assert result.findings.counts["tasks accepted, executed"] > 500
    assert result.findings.counts["documents accepted, stored"] > 10_000
    assert result.picture.read_text(encoding="utf-8").startswith("<svg")
