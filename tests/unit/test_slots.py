"""Which scripts keep to one slot of a Redis Cluster, and which do not: as docs/clusters.md says."""

import re
from pathlib import Path

import pytest
from redis.crc import key_slot

from penstock.wire.kept_results import usage_key
from penstock.wire.keys import (
    CALLBACK_PREFIX,
    HISTORY_ACCEPTED,
    HISTORY_ARGUMENTS_KEY,
    HISTORY_CHANGES,
    IDEMPOTENCY_PREFIX,
    KEPT_CALLBACKS_PREFIX,
    KEPT_IDEMPOTENCY_PREFIX,
    OUTSTANDING_KEY,
    RATE_PREFIX,
    TaskKeys,
    passed_key,
)
from penstock.wire.pauses import PAUSED_KEY
from penstock.wire.schedules import PREFIX, SCHEDULE_KEY

ROOT = Path(__file__).parents[2]
SCRIPTS = {path.stem for path in (ROOT / "penstock/wire/lua").glob("*.lua")}
TASK, OTHER = TaskKeys.of("one"), TaskKeys.of("other")
CLAIMS = [f"{IDEMPOTENCY_PREFIX}acme:key", f"{KEPT_IDEMPOTENCY_PREFIX}acme"]
SCHEDULE = [f"{PREFIX}@acme/nightly", SCHEDULE_KEY]
WITHIN = {
    "callback_claim": [OUTSTANDING_KEY],
    "gate_pass": [TASK.revoked, passed_key(TASK.record)],
    "history_changes": [HISTORY_CHANGES],
    "rate_lease": [f"{RATE_PREFIX}a key"],
    "task_ask": [TASK.record, TASK.ended, TASK.revoked],
    "task_charge": [TASK.deaths, TASK.ended],
    "task_log": [TASK.record, TASK.events, TASK.ended],
    "task_suspect": [TASK.record, TASK.deaths],
    "task_take_back": [TASK.record, TASK.events, TASK.ended],
}
"""Script → its keys."""
UNLESS = {
    "task_end": ([TASK.record, TASK.events, TASK.ended, TASK.copy], [usage_key("acme")]),
    "task_revoke": ([*TASK[:4]], [usage_key("acme")]),
    "task_record": ([*TASK[:4]], [usage_key("acme")]),
    "task_start": ([*TASK[:5]], [PAUSED_KEY]),
}
"""Script → its keys, and those that it has for a tenant or a queue that can be paused."""
CALLBACK = [f"{CALLBACK_PREFIX}one", f"{KEPT_CALLBACKS_PREFIX}acme", OUTSTANDING_KEY]
ACROSS = {
    "callback_forget": CALLBACK,
    "callback_remember": CALLBACK,
    "history_accepted": [HISTORY_ACCEPTED, HISTORY_ARGUMENTS_KEY],
    "history_records": [TASK.record, OTHER.record],
    "idempotency_claim": CLAIMS,
    "idempotency_settle": CLAIMS,
    "probe": ["penstock:probe:one", "penstock:probe:other"],
    "schedule_delete": SCHEDULE,
    "schedule_put": SCHEDULE,
    "schedule_ran": SCHEDULE,
    "schedule_suspend": SCHEDULE,
    "task_read": [TASK.record, OTHER.record],
    "task_snapshot": [TASK.record, OTHER.record],
}


def slots(keys: list[str]) -> int:
    return len({key_slot(key.encode()) for key in keys})


def test_every_script_is_known():
    assert sorted(SCRIPTS) == sorted([*WITHIN, *UNLESS, *ACROSS])
    assert (len(WITHIN), len(UNLESS), len(ACROSS)) == (9, 4, 13)


@pytest.mark.parametrize("name", WITHIN)
def test_the_keys_of_a_task_lie_in_one_slot(name: str):
    assert slots(WITHIN[name]) == 1


@pytest.mark.parametrize("name", UNLESS)
def test_tenants_and_pauses_lie_elsewhere(name: str):
    own, besides = UNLESS[name]

    assert (slots(own), slots([*own, *besides])) == (1, 2)


@pytest.mark.parametrize("name", ACROSS)
def test_other_scripts_span_slots(name: str):
    assert slots(ACROSS[name]) == len(ACROSS[name]) > 1


def test_the_docs_name_each_script():
    page = (ROOT / "docs" / "clusters.md").read_text()
    section = page.partition("## Redis Cluster")[2].partition("\n## ")[0]
    named = [word for word in re.findall(r"`(\w+)`", section) if word in SCRIPTS]

    assert sorted(named) == sorted(SCRIPTS)
