"""The Lua scripts of the gateway: each reads or changes all keys of a task in one step.

The bytes that they store are a contract with the workers, who write by scripts of their own; the
keys of a task are named in `TaskKeys`.
"""

from dataclasses import dataclass

DAY_S = 86_400
ENDED_EXTRA_S = 7 * DAY_S
"""How much longer than the result the fact is kept that the task ended."""
REVOKED_EXTRA_S = 90 * DAY_S
"""How long after its due time an id stays revoked."""
EVENTS_LENGTH = 1000
"""Events kept of one task, about."""
RECORD_PREFIX = "celery-task-meta-"
"""Key of a record and name of its channel: Celery's `KeyValueStoreBackend.task_keyprefix`."""


@dataclass(frozen=True, slots=True)
class TaskKeys:
    """The keys of one task."""

    record: str
    events: str
    ended: str
    revoked: str
    copy: str

    @classmethod
    def of(cls, task_id: str) -> "TaskKeys":
        """Name the keys of a task."""
        return cls(
            f"{RECORD_PREFIX}{task_id}",
            f"penstock:events:{task_id}",
            f"penstock:ended:{task_id}",
            f"penstock:revoked:{task_id}",
            f"penstock:copy:{task_id}",
        )


_GONE = """
local function gone(ended, revoked)
  if redis.call('EXISTS', ended) == 1 then return 1 end
  return redis.pcall('GET', revoked) == '1' and 1 or 0
end
"""
"""Whether a task without a record had one; a mark of `ASK` is no end."""

READ = (
    _GONE
    + """
-- KEYS: record, ended, revoked of each task.  ARGV: octets that the records may have together
-- For each task: the record; 0 = none; 1 = none any more; 2 = beyond the octets, ask again;
--   3 = not a record
local budget, answer = tonumber(ARGV[1]), {}
for i = 1, #KEYS, 3 do
  local n, size = (i + 2) / 3, redis.pcall('STRLEN', KEYS[i])
  if type(size) == 'table' then
    answer[n], size = 3, 0
  elseif size == 0 then
    answer[n] = gone(KEYS[i + 1], KEYS[i + 2])
  elseif size > budget and n > 1 then
    answer[n] = 2
  else
    answer[n] = redis.call('GET', KEYS[i])
  end
  budget = budget - size
end
return answer
"""
)

_SNAPSHOT = """
-- KEYS: record, ended, revoked, events of each task
-- ARGV: octets of a record that may be told whole, events at once, then a cursor or '' for each
-- For each task: {the record or its short form; 0, 1, 3 as above; 2 = long and without short form,
--   1 when the events after the cursor are all there, these events}
local limit, page, answer = tonumber(ARGV[1]), ARGV[2], {}

local function untrimmed(key)
  local info, length = redis.call('XINFO', 'STREAM', key), redis.call('XLEN', key)
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then return info[i + 1] == length end
  end
  return length < %(length)d
end

local function told(record, ended, revoked, events)
  local size = redis.pcall('STRLEN', record)
  if type(size) == 'table' then return 3 end
  if size == 0 then return gone(ended, revoked) end
  if size <= limit then return redis.call('GET', record) end
  local head = redis.call('GETRANGE', record, 0, 80)
  local cursor = string.match(head, '^{"cursor": ?"(%%d+%%-%%d+)"')
  local short = cursor and redis.pcall('XRANGE', events, cursor, cursor)[1]
  if not short then return 2 end
  return '{"cursor":"' .. cursor .. '",' .. string.sub(short[2][2], 2)
end

for i = 1, #KEYS, 4 do
  local n, events = (i + 3) / 4, KEYS[i + 3]
  local cursor, complete, news = ARGV[n + 2], 0, {}
  if cursor ~= '' and redis.call('TYPE', events).ok == 'stream' then
    if cursor == '0-0' then
      complete = untrimmed(events) and 1 or 0
    else
      complete = #redis.call('XRANGE', events, cursor, cursor)
    end
    if complete == 1 then
      news = redis.call('XRANGE', events, '(' .. cursor, '+', 'COUNT', page)
    end
  end
  answer[n] = {told(KEYS[i], KEYS[i + 1], KEYS[i + 2], events), complete, news}
end
return answer
""" % {"length": EVENTS_LENGTH}  # noqa: UP031  # Lua is full of braces

SNAPSHOT = _GONE + _SNAPSHOT

_STATE_OF = """
local function state_of(key)
  local head = redis.call('GETRANGE', key, 0, 200)
  if head == '' then return '' end
  local state = string.match(head, '^{"cursor": ?"[%d-]+", ?"status": ?"([^"]*)"')
    or string.match(head, '^{"status": ?"([^"]*)"')
  if state then return state end
  local sound, record = pcall(cjson.decode, redis.call('GET', key))
  return sound and type(record) == 'table' and record['status'] or 'UNKNOWN'
end
local final = {SUCCESS = true, FAILURE = true, REVOKED = true}
"""

_FINISH = """
local function finish(state, body, keep_s)
  local cursor = redis.call('XADD', KEYS[2], 'MAXLEN', '~', %d, '*', 'e', '{' .. body)
  redis.call('EXPIRE', KEYS[2], keep_s)
  local record = '{"cursor":"' .. cursor .. '",' .. body
  redis.call('SET', KEYS[1], record, 'EX', keep_s)
  redis.call('SET', KEYS[3], state, 'EX', keep_s + %d)
  redis.call('PUBLISH', KEYS[1], record)
end
""" % (EVENTS_LENGTH, ENDED_EXTRA_S)  # noqa: UP031

REVOKE = (
    _STATE_OF
    + _FINISH
    + """
-- KEYS: record, events, ended, revoked
-- ARGV: the REVOKED record without its opening brace ('' = untracked), seconds to keep it,
--       seconds to keep the mark
-- The answer: {what the task is now, its state}
local state = redis.call('GET', KEYS[3]) or state_of(KEYS[1])
if final[state] then return {'ended', state} end
redis.call('SET', KEYS[4], '1', 'EX', tonumber(ARGV[3]))
if state ~= '' and state ~= 'RETRY' and state ~= 'PENDING' and state ~= 'RECEIVED' then
  return {'running', state}
end
if ARGV[1] ~= '' then finish('REVOKED', ARGV[1], tonumber(ARGV[2])) end
return {'revoked', 'REVOKED'}
"""
)
"""Revoke a task unless it ended; one that runs goes on, but never starts again."""

ASK = (
    _STATE_OF
    + """
-- KEYS: record, ended, revoked.  ARGV: seconds to keep the mark
-- The answer: as of REVOKE; 'asked' where nobody here can know whether the task will start
local state = redis.call('GET', KEYS[2]) or state_of(KEYS[1])
if final[state] then return {'ended', state} end
redis.call('SET', KEYS[3], 'asked', 'EX', tonumber(ARGV[1]))
if state ~= '' and state ~= 'RETRY' and state ~= 'PENDING' and state ~= 'RECEIVED' then
  return {'running', state}
end
return {'asked', state ~= '' and state or 'PENDING'}
"""
)
"""The same for a task of others: workers of ours will not start it, others are asked, and an end is
written down by whoever ends it."""

END = (
    _STATE_OF
    + _FINISH
    + """
-- KEYS: record, events, ended, revoked, copy
-- ARGV: final state, its record without the opening brace, seconds to keep it, nonce of the copy
if redis.call('EXISTS', KEYS[3]) == 1 or final[state_of(KEYS[1])] then return 'ended' end
local started = redis.call('GET', KEYS[5])
if ARGV[4] ~= '' and started and started ~= ARGV[4] then return 'other-copy' end
finish(ARGV[1], ARGV[2], tonumber(ARGV[3]))
return 'told'
"""
)
"""Tell an end that the broker decided, unless the task ended before or another copy of it runs."""
