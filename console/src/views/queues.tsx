// Queues: what waits, what moves, and who takes it.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { isAdmin, path, post } from "../api";
import { brief, count, many, NONE, rate, short } from "../format";
import { Ago, Empty, Loading, Section, Stale, Trouble } from "../parts/bits";
import { ask, follow } from "../parts/dialog";
import { heldUp } from "../parts/health";
import { Plot } from "../parts/plot";
import { Table, type Column } from "../parts/table";
import { useResource } from "../resource";
import { to } from "../router";
import type { Queue } from "../types";

/** With more queues than a page has room for, the plots are left to the page of each. */
const MOST_WITH_PLOTS = 200;
const tooMany = signal(false);

export function useQueues() {
  const found = useResource<{ queues: Queue[] }>(tooMany.value ? "/v1/queues" : "/v1/queues?with=history", 5000);
  const number = found.data.value?.queues.length ?? 0;
  useEffect(() => {
    if (number > MOST_WITH_PLOTS) tooMany.value = true;
  }, [number]);
  return found;
}

const LEAST_STEPS = 20;
const MOST_HELD = 12;
/** From so many on only rows in sight are drawn, each as tall as the next. */
const MANY = 40;
const HEIGHTS: [number, number] = [44, 132];

/** The rates of the last hour, as far back as they are known; x in seconds. */
export function hourOf(queue: Queue): { xs: number[]; lines: [(number | null)[], (number | null)[]] } | null {
  const found = queue.history;
  if (!found) return null;
  const until = Date.parse(found.until) / 1000;
  const size = found.in_per_s.length;
  const known = found.in_per_s.findIndex((one) => one !== null);
  const from = Math.max(0, Math.min(known < 0 ? size : known, size - LEAST_STEPS));
  return {
    xs: found.in_per_s.map((_, i) => until - (size - 1 - i) * found.step_s).slice(from),
    lines: [found.in_per_s.slice(from), found.out_per_s.slice(from)],
  };
}

function last(values: (number | null)[] | undefined): number | null {
  return values?.at(-1) ?? values?.at(-2) ?? null;
}

function Flow({ queue }: { queue: Queue }) {
  const hour = hourOf(queue);
  const entering = last(queue.history?.in_per_s) ?? queue.rates?.publish;
  const leaving = last(queue.history?.out_per_s) ?? queue.rates?.deliver;
  return (
    <span class="flow">
      {hour && <Plot label={`${queue.name}: in and out per second, last hour`} xs={hour.xs} lines={hour.lines} height={28} />}
      <span class="flow-now"><b class="in"><span class="hidden">in </span>{rate(entering)}</b><b class="out"><span class="hidden">out </span>{rate(leaving)}</b></span>
    </span>
  );
}

/** What a queue holds up that no problem names: it is paused by hand, or it is full. */
export function HeldUp() {
  const queues = useQueues().data.value?.queues ?? [];
  const held = queues.filter((one) => one.paused || one.full);
  useEffect(() => {
    heldUp.value = held.length;
  }, [held.length]);
  if (!held.length) return null;
  return (
    <ul class="troubles">
      {held.slice(0, MOST_HELD).map((one) => (
        <li key={one.name}>
          <p>
            <QueueTags queue={one} /> <a href={to(["queues", one.name])}>{one.name}</a>{" "}
            {one.full && <span>refuses submits from {count(one.limit)} messages on: <a href={to(["workers"], { queue: one.name })}>have more workers or slots empty it</a>, or purge what nobody needs. </span>}
            {one.paused && <span>{one.ready !== undefined && `${many(one.ready, "message")} ${one.ready === 1 ? "waits" : "wait"}; `}paused{one.paused_by && <> by <b>{brief(one.paused_by, 60)}</b></>}{one.paused_at && <> <Ago at={one.paused_at} /></>}.</span>}
            <QueueActions queue={one} />
          </p>
        </li>
      ))}
      {held.length > MOST_HELD && <li class="quiet">and {count(held.length - MOST_HELD)} more queues</li>}
    </ul>
  );
}

/** Counts them where the overview does not show them: all is not well there either. */
export function HeldUpElsewhere() {
  const queues = useResource<{ queues: Queue[] }>("/v1/queues", 30_000).data.value?.queues;
  const held = queues?.filter((one) => one.paused || one.full).length;
  useEffect(() => {
    if (held !== undefined) heldUp.value = held;
  }, [held]);
  return null;
}

export function QueueTags({ queue }: { queue: Queue }) {
  return (
    <>
      {queue.paused && <span class="tag warn">{queue.paused === "partly" ? "partly paused" : "paused"}</span>}
      {queue.full && <span class="tag bad">full</span>}
    </>
  );
}

export function QueueActions({ queue }: { queue: Queue }) {
  if (!isAdmin.value) return null;
  const name = queue.name;
  return (
    <span class="actions">
      {queue.paused
        ? <button type="button" class="plain" onClick={() => ask({
            title: `Resume ${name}?`,
            body: <p>Workers go on{queue.ready === undefined ? "" : <> with {many(queue.ready, "message")} that wait</>}.</p>,
            action: "Resume",
            run: async () => {
              await post(path`/v1/queues/${name}/resume`);
              return `${name} goes on`;
            },
          })}>Resume<span class="hidden"> {name}</span></button>
        : <button type="button" class="plain" onClick={() => ask({
            title: `Pause ${name}?`,
            body: <p>No worker of this deployment starts a task of it until it is resumed. What runs
              goes on; {queue.ready === undefined ? "what waits" : many(queue.ready, "message")} and what is submitted wait.</p>,
            action: "Pause",
            run: async () => {
              const { paused } = await post<{ paused: unknown }>(path`/v1/queues/${name}/pause`);
              return paused === "partly" ? `${name} is paused for workers of this deployment only` : `${name} is paused`;
            },
          })}>Pause<span class="hidden"> {name}</span></button>}
      <button type="button" class="plain" disabled={queue.ready === 0} onClick={() => ask({
        title: `Purge ${name}?`,
        body: <p>{queue.ready === undefined ? "Every message" : <b>{many(queue.ready, "message")}</b>} ready
          now will end REVOKED, with the chains, chords and callbacks that wait for them. This cannot be undone.</p>,
        action: queue.ready === undefined ? "Purge" : `Purge ${many(queue.ready, "message")}`,
        danger: true,
        run: async (key) => {
          const begun = await post<{ operation: string; of: number }>(path`/v1/queues/${name}/purge`, {}, { key });
          void follow(`Purging ${name}`, begun.operation);
          return `Purging ${many(begun.of, "message")} of ${name}`;
        },
      })}>Purge<span class="hidden"> {name}</span></button>
    </span>
  );
}

const COLUMNS: Column<Queue>[] = [
  { id: "name", head: "Queue", cell: (queue) => (
    <><a class="strong" href={to(["queues", queue.name])}>{queue.name}</a> <QueueTags queue={queue} /></>
  ) },
  { id: "ready", head: "Ready", end: true, cell: (queue) => <span class={queue.ready ? "strong" : "quiet"}>{count(queue.ready)}</span> },
  { id: "unacked", head: "Unacked", end: true, cell: (queue) => <span class={queue.unacknowledged ? "" : "quiet"}>{count(queue.unacknowledged)}</span> },
  { id: "oldest", head: "Oldest", end: true, cell: (queue) => queue.oldest_s === undefined ? <span class="quiet">{NONE}</span> : <span class="nowrap">{short(queue.oldest_s)}</span> },
  { id: "flow", head: "In / out per s, last hour", cell: (queue) => <Flow queue={queue} /> },
  { id: "workers", head: "Consumers", end: true, cell: (queue) => <span class={queue.consumers === 0 ? (queue.ready && !queue.paused ? "warn-text" : "quiet") : ""}>{count(queue.consumers)}</span> },
  { id: "dead", head: "Dead", end: true, cell: (queue) => queue.dead_letters
    ? <a class="bad-text" href={to(["dead-letters", queue.name])}>{count(queue.dead_letters)}</a>
    : <span class="quiet">{queue.dead_letter_queue ? count(queue.dead_letters) : NONE}</span> },
  { id: "actions", head: "", end: true, cell: (queue) => <QueueActions queue={queue} /> },
];

export function Queues() {
  const found = useQueues();
  const queues = found.data.value?.queues;
  const depths = queues?.map((one) => one.ready).filter((one) => one !== undefined) ?? [];
  const waiting = depths.length ? depths.reduce((sum, one) => sum + one, 0) : undefined;
  const [search, setSearch] = useState("");
  const words = search.toLowerCase();
  const shown = queues?.filter((one) => one.name.toLowerCase().includes(words)) ?? [];
  return (
    <Section title="Queues" id="queues" aside={waiting !== undefined && <>{count(waiting)} ready</>}>
      <Stale of={found} />
      {!queues ? (found.problem.value ? <Trouble problem={found.problem.value} what="queues" /> : <Loading />)
        : queues.length ? <>
          {queues.length > MANY && (
            <div class="filters"><input type="search" aria-label="Find a queue" placeholder={`Find one of ${count(queues.length)} queues`} value={search}
              onInput={(event) => setSearch(event.currentTarget.value)} /></div>
          )}
          <Table kind="t-queues" label="Queues" columns={COLUMNS} rows={shown} name={(one) => one.name}
            {...(queues.length > MANY ? { heights: HEIGHTS } : {})} />
          {shown.length === 0 && <Empty>No queue has such a name.</Empty>}
          {queues.every((one) => one.ready === undefined) && (
            <p class="quiet small">Depths and consumers come from RabbitMQ's management API: set <code>RABBITMQ_MANAGEMENT_URL</code>.</p>
          )}
        </>
        : <Empty>The layout has no queues.</Empty>}
    </Section>
  );
}
