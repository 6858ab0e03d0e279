"""What this process writes to Redis about a task, and the scripts that write it.

The bytes are a contract with the gateway; the scripts are ours.

    (nothing) ──start──► STARTED ──► PROGRESS … ──► SUCCESS | FAILURE | REVOKED   (ended, once)
                            ▲ └────► RETRY ──┐
                            └── redelivery ──┘

Each change is one script: the record, an entry of the task's event stream and a notice to whoever
watches are stored together or not at all. The first end that is stored stays; what arrives after it
is dropped, unless the task is started again on purpose.
"""

from dataclasses import dataclass

from penstock.wire.kept_results import BESIDES, USUAL_EVENTS

DAY_S = 86_400
EVENTS_LENGTH = 1000
ENDED_EXTRA_S = 7 * DAY_S
"""How much longer than the result the fact is kept that the task ended."""
REVOKED_S = 90 * DAY_S
COPY_S = 8 * DAY_S
DEATHS_S = DAY_S
"""How long it is remembered that a process died under a task."""
TRUNCATE_BYTES = 64 * 1024
"""An event with a longer record carries no result: streams are for news, records for results."""
MAX_LINE_CHARS = 16 * 1024

_CONSTANTS = f"""
local EVENTS_LENGTH, ENDED_EXTRA_S, COPY_S = {EVENTS_LENGTH}, {ENDED_EXTRA_S}, {COPY_S}
local BESIDES, USUAL_EVENTS = {BESIDES}, {USUAL_EVENTS}
"""

# The state of a task is near the beginning of its record: `{"status": "…` when Celery wrote it,
# behind the cursor when one of us did. Reading a few bytes spares copying a result of megabytes.
_STATE = """
local function state_of(record_key)
  return string.match(redis.call('GETRANGE', record_key, 0, 120), '"status": ?"([A-Z]+)"') or ''
end
"""

# KEYS: record, events, ended.
# `body` is the record without its opening brace: the cursor, which Redis makes, becomes its first
# member. `event` is what the stream gets in place of it when the record is long.
_WRITE = """
local function write(body, event, keep_s)
  if event == '' then event = '{' .. body end
  local cursor = redis.call('XADD', KEYS[2], 'MAXLEN', '~', EVENTS_LENGTH, '*', 'e', event)
  redis.call('EXPIRE', KEYS[2], keep_s)
  local record = '{"cursor":"' .. cursor .. '",' .. body
  redis.call('SET', KEYS[1], record, 'EX', keep_s)
  redis.call('PUBLISH', KEYS[1], record)
end
local function finish(state, keep_s)
  redis.call('SET', KEYS[3], state, 'EX', keep_s + ENDED_EXTRA_S)
end
"""

START = (
    _CONSTANTS
    + _STATE
    + _WRITE
    + """
-- KEYS: record, events, ended, revoked, copy
-- ARGV: body ('' = untracked), seconds to keep, redelivered, copy, replay, retried
local final = {SUCCESS=true, FAILURE=true, REVOKED=true}
local body, redelivered, copy = ARGV[1], ARGV[3] == '1', ARGV[4]
local replay, retried = ARGV[5] == '1', ARGV[6] == '1'
if redis.call('EXISTS', KEYS[4]) == 1 then return 'revoked' end
local mark = redis.call('GET', KEYS[3])
local ended = mark or state_of(KEYS[1])
if final[ended] then
  if replay then
    if redelivered and ended == 'SUCCESS' then return 'ended' end
  elseif redelivered or retried or copy ~= '' then
    return 'ended'
  end
end
if copy ~= '' then
  local nonce = redis.call('GET', KEYS[5])
  if nonce and nonce ~= copy then return 'duplicate' end
  redis.call('SET', KEYS[5], copy, 'EX', COPY_S)
end
if mark then redis.call('DEL', KEYS[3]) end
if body ~= '' then write(body, '', tonumber(ARGV[2])) end
return 'start'
"""
)
"""Whether a delivery may start; marks it started in the same step, so that two cannot both."""

RECORD = (
    _CONSTANTS
    + _WRITE
    + """
-- KEYS: record, events, ended, revoked, of an end what its tenant's results take
-- ARGV: body, event ('' = the record), state when it is final or '', seconds to keep,
--       '1' to take started_at from the record there is, seconds of the revoke mark or '0',
--       with the fifth key: when it is gone, '1' to measure the events
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local body, keep_s = ARGV[1], tonumber(ARGV[4])
if ARGV[5] == '1' then
  local head = redis.call('GETRANGE', KEYS[1], 0, 1000)
  local started = string.match(head, '"started_at": ?"([%d:TZ.+-]+)"')
  if started then body = '"started_at":"' .. started .. '",' .. body end
end
write(body, ARGV[2], keep_s)
if ARGV[3] ~= '' then finish(ARGV[3], keep_s) end
if ARGV[6] ~= '0' then redis.call('SET', KEYS[4], '1', 'EX', tonumber(ARGV[6])) end
if KEYS[5] then
  local events = USUAL_EVENTS
  if ARGV[8] == '1' then events = redis.call('MEMORY', 'USAGE', KEYS[2], 'SAMPLES', 0) end
  local size = #body + BESIDES + events
  if redis.call('HINCRBY', KEYS[5], ARGV[7], size) == size then
    redis.call('EXPIRE', KEYS[5], 2 * keep_s + ENDED_EXTRA_S)
  end
end
return 1
"""
)
"""One change of state. 0: it had ended before, nothing was written."""

SUSPECT = (
    _STATE
    + """
-- KEYS: record, deaths
-- ARGV: this process, '1' = tracked, seconds to keep
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
if ARGV[2] ~= '1' then return 1 end
local open = state_of(KEYS[1])
if open == '' or open == 'RETRY' or open == 'SUCCESS' or open == 'FAILURE' or open == 'REVOKED' then
  return 0
end
local holder = string.match(redis.call('GETRANGE', KEYS[1], 0, 1000), '"process": ?"(%w+)"')
if holder == ARGV[1] then return 0 end
redis.call('SET', KEYS[2], 1, 'EX', ARGV[3])
return 1
"""
)
"""Whether another process had a redelivered task, and did not end it; the first time counts as a
death. One that keeps no state may have been started by any."""

CHARGE = """
-- KEYS: deaths, ended
-- ARGV: seconds to keep
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local deaths = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return deaths
"""
"""A process died under the task alone: how many have by now; 0 when it had ended before."""

LOG = (
    _CONSTANTS
    + """
-- KEYS: record (the channel), events, ended
-- ARGV: event, notice without its opening brace, seconds to keep
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local cursor = redis.call('XADD', KEYS[2], 'MAXLEN', '~', EVENTS_LENGTH, '*', 'e', ARGV[1])
redis.call('EXPIRE', KEYS[2], tonumber(ARGV[3]))
redis.call('PUBLISH', KEYS[1], '{"cursor":"' .. cursor .. '",' .. ARGV[2])
return 1
"""
)
"""One line of output."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one task; also the channel of its notices, which is the record's key."""

    record: str
    events: str
    ended: str
    revoked: str
    copy: str
    deaths: str

    @classmethod
    def of(cls, task_id: str) -> "Keys":
        """Name the keys of a task."""
        return cls(
            f"celery-task-meta-{task_id}",
            f"penstock:events:{task_id}",
            f"penstock:ended:{task_id}",
            f"penstock:revoked:{task_id}",
            f"penstock:copy:{task_id}",
            f"penstock:deaths:{task_id}",
        )
