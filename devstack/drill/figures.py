"""What came out of a drill as plain figures: for the report, and for docs/performance.md."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from devstack.drill.run import Result, Settings

MUST_BE_0 = (
    "task lost", "task never ended", "task ended wrongly", "dead-lettered", "document lost",
    "document stored twice", "batch never ended", "executed under two ids",
    "executed after its end", "refused but executed", "document refused but stored",
    "executed although revoked", "started too early", "poison not dead-lettered",
    "foreign message never ended", "odd end told wrongly", "slot lost",
    "history wrong", "false alarm",
)  # fmt: skip


def figures(settings: Settings, result: Result) -> dict[str, Any]:
    """Return them; times in seconds, memory in MiB, shares from 0 to 1."""
    faults = result.findings.faults
    late_s = sorted(result.findings.late_s) or [0.0]
    recovery = result.timeline.recovery(result.episodes)
    return {
        "rabbitmq": result.rabbitmq,
        "minutes": settings.minutes,
        "seed": settings.seed,
        "submits_per_s": settings.submits,
        "ingests_per_s": settings.ingests,
        "kinds": len({name for episode in result.episodes for name in episode.names}),
        "faults": sum(len(episode.names) for episode in result.episodes),
        "pairs": sum(len(episode.names) > 1 for episode in result.episodes),
        "counts": dict(sorted(result.findings.counts.items())),
        "must_be_0": {name: faults.get(name, 0) for name in dict.fromkeys((*MUST_BE_0, *faults))},
        "answers": dict(sorted(result.ledger.statuses.items(), key=lambda item: -item[1])),
        "slowest_answer_s": result.ledger.slowest_s,
        "answers_later_than_6_s": result.ledger.late,
        "delayed_late_s": {
            "half": late_s[len(late_s) // 2],
            "99 %": late_s[len(late_s) * 99 // 100],
            "all": late_s[-1],
        },
        "recovery": [
            {
                "fault": one.episode.title,
                "seconds": one.seconds,
                "allowed_s": one.allowed_s,
                "last": one.sign,
                "next_fault_came_before": one.cut_short,
                "trouble": one.episode.trouble,
            }
            for one in recovery
        ],
        "gateway_rss_mib": {
            name: _quarters([mib for _, mib in samples])
            for name, samples in result.timeline.rss_mib.items()
        },
        "processors_busy": fmean(share for _, share in result.timeline.busy or [(0.0, 0.0)]),
        "quiet_after_s": result.quiet_after_s,
    }


def _quarters(sizes: Sequence[float]) -> dict[str, float]:
    quarter = max(1, len(sizes) // 4)
    first, last = sizes[:quarter], sizes[-quarter:]
    return {"first quarter": fmean(first), "last quarter": fmean(last), "highest": max(sizes)}
