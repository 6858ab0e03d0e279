"""The result of a drill, for people: a table of figures and what must not be."""

from collections.abc import Sequence

from devstack.drill.director import Episode
from devstack.drill.receipts import Ledger
from devstack.drill.reconcile import Findings
from devstack.drill.timeline import Timeline

_MUST_BE_0 = (
    "task lost", "task never ended", "task ended wrongly", "dead-lettered", "document lost",
    "document stored twice", "batch never ended", "executed under two ids",
    "executed after its end", "refused but executed", "document refused but stored",
    "executed although revoked", "started too early", "poison not dead-lettered",
)  # fmt: skip


def report(
    ledger: Ledger, findings: Findings, timeline: Timeline, episodes: Sequence[Episode]
) -> str:
    """Write it down."""
    lines = ["", "what was sent and what became of it"]
    lines += [f"  {name:<38} {count:>10,}" for name, count in sorted(findings.counts.items())]
    lines += ["", "answers"]
    lines += [
        f"  {name:<38} {count:>10,}"
        for name, count in sorted(ledger.statuses.items(), key=lambda item: -item[1])
    ]
    lines += [f"  slowest {ledger.slowest_s:.1f} s; later than 6 s: {ledger.late or 0}", ""]
    late = sorted(findings.late_s) or [0.0]
    half, most = late[len(late) // 2], late[len(late) * 99 // 100]
    lines += [
        f"delayed tasks late by: half {half:.1f} s, 99 % {most:.1f} s, all {late[-1]:.1f} s",
        "",
    ]
    lines += _recovery(timeline, episodes)
    lines += ["", "memory of the gateways, MiB (first quarter, last quarter, highest)"]
    for name, samples in timeline.rss_mib.items():
        sizes = [mib for _, mib in samples]
        quarter = max(1, len(sizes) // 4)
        first, last = sizes[:quarter], sizes[-quarter:]
        lines.append(
            f"  {name:<38} {sum(first) / len(first):>8.0f} {sum(last) / len(last):>8.0f} "
            f"{max(sizes):>8.0f}"
        )
    lines += ["", "must be 0"]
    lines += [
        f"  {name:<38} {findings.faults.get(name, 0):>10,}"
        for name in dict.fromkeys((*_MUST_BE_0, *findings.faults))
    ]
    for name, examples in findings.examples.items():
        lines += [f"  {name}: {example[:500]}" for example in examples]
    return "\n".join(lines)


def _recovery(timeline: Timeline, episodes: Sequence[Episode]) -> list[str]:
    lines = ["seconds from healing until everything works again"]
    for episode, seconds, sign, cut_short in timeline.recovery(episodes):
        mark = " (the next fault came before)" if cut_short else ""
        trouble = f" {episode.trouble}" if episode.trouble else ""
        lines.append(f"  {episode.title:<38} {seconds:>10.1f}  {sign}{mark}{trouble}")
    return lines
