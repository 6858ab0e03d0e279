"""Random tasks with every option, for `test_messages.py`."""

from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
_NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(0, 9),
        "expires": st.integers(100, 10_000),
        "time_limit": st.integers(50, 99),
        "soft_time_limit": st.integers(1, 49) | st.floats(1, 49),
        "ignore_result": st.booleans(),
        "headers": st.dictionaries(
            _NAMES.map(lambda name: f"own_{name}"),
            _TEXT | st.integers(0, 2**31) | st.booleans(),
            max_size=3,
        ),
    },
)
_TASKS = st.fixed_dictionaries(
    {"task": st.just("golden.echo")},
    optional={
        "args": st.lists(_VALUES, max_size=4),
        "kwargs": st.dictionaries(_NAMES, _VALUES, max_size=4),
        "options": _OPTIONS,
    },
)


def generated(count: int, number: int = 1) -> dict[str, dict[str, Any]]:
    """Return so many tasks by the names that `differences.toml` calls them by.

    Args:
        count: how many.
        number: of the series; the same gives the same tasks.
    """
    found: dict[str, dict[str, Any]] = {}

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_TASKS)
    def collect(task: dict[str, Any]) -> None:
        found[f"generated {len(found) + 1}"] = task

    collect()
    return found
