"""The result of a drill, for people: a table of figures and what must not be."""

from collections.abc import Mapping
from typing import Any

from devstack.drill.reconcile import Findings

_LONGEST_EXAMPLE = 5_000
"""Characters: the end of a log is part of some."""


def report(figures: Mapping[str, Any], findings: Findings) -> str:
    """Write it down.

    Args:
        figures: From `figures.figures`.
        findings: Examples of what must not be.
    """
    lines = ["", "what was sent and what became of it", *_counts(figures["counts"])]
    lines += ["", "answers", *_counts(figures["answers"])]
    slowest_s, later = figures["slowest_answer_s"], figures["answers_later_than_6_s"]
    lines += [f"  slowest {slowest_s:.1f} s; later than 6 s: {later or 0}", ""]
    late = ", ".join(
        f"{share} {late_s:.1f} s" for share, late_s in figures["delayed_late_s"].items()
    )
    lines += [
        f"delayed tasks late by: {late}",
        f"processors busy: {figures['processors_busy']:.0%} of all, on average",
        "",
        "seconds from healing until everything works again",
    ]
    for one in figures["recovery"]:
        mark = " (the next fault came before)" if one["next_fault_came_before"] else ""
        slow = " TOO LATE" if one["seconds"] > one["allowed_s"] else ""
        trouble = f" {one['trouble']}" if one["trouble"] else ""
        lines.append(
            f"  {one['fault']:<38} {one['seconds']:>10.1f}  {one['last']}{slow}{mark}{trouble}"
        )
    lines += ["", "memory of the gateways, MiB (first quarter, last quarter, highest)"]
    lines += [
        f"  {name:<38} {''.join(f'{mib:>8.0f} ' for mib in sizes.values())}"
        for name, sizes in figures["gateway_rss_mib"].items()
    ]
    lines += ["", "must be 0", *_counts(figures["must_be_0"])]
    for name, examples in findings.examples.items():
        lines += [f"  {name}: {example[:_LONGEST_EXAMPLE]}" for example in examples]
    return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> list[str]:
    return [f"  {name:<38} {count:>10,}" for name, count in counts.items()]
