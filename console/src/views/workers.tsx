// Workers: who is there, and what they are told to do.
import { useState } from "preact/hooks";
import { isAdmin, path, post } from "../api";
import { brief, count, many, named } from "../format";
import { Ago, Empty, Loading, Section, Stale, Trouble } from "../parts/bits";
import { ask } from "../parts/dialog";
import { useWorkers } from "../parts/health";
import { Table, type Column } from "../parts/table";
import { place, to } from "../router";
import type { Worker } from "../types";
import { useQueues } from "./queues";

const MOST_QUEUES = 20;
/** Gateways consume it, and no worker may. */
const GATEWAYS_QUEUE = "callbacks";

interface Commanded { replied: boolean; reply?: string }

async function command(worker: string, word: string, body: unknown): Promise<string> {
  const done = await post<Commanded>(`${path`/v1/workers/${worker}/`}${word}`, body);
  return done.replied ? `${worker}: ${done.reply ?? "done"}` : `${worker} was told, and has not replied yet`;
}

function Commands({ worker, wanted }: { worker: Worker; wanted: string }) {
  const queues = useQueues().data.value?.queues.map((one) => one.name).filter((one) => one !== GATEWAYS_QUEUE) ?? [];
  const [queue, setQueue] = useState(wanted);
  const name = worker.name;
  const consumes = worker.queues ?? [];
  const chosen = queue || queues[0] || "";
  const has = consumes.includes(chosen);
  const resize = (grow: number) => ask({
    title: `${grow > 0 ? "Add a slot to" : "Take a slot from"} ${named(name)}?`,
    body: <p>It executes {count(worker.concurrency)} tasks at a time; then {count((worker.concurrency ?? 0) + grow)}, until it is restarted.</p>,
    action: grow > 0 ? "Add 1 slot" : "Take 1 slot",
    run: () => command(name, "pool", { grow }),
  });
  return (
    <div class="commands">
      <label>Queue <select value={chosen} onChange={(event) => setQueue(event.currentTarget.value)}>
        {queues.map((one) => <option key={one} value={one}>{one}{consumes.includes(one) ? " (consumed)" : ""}</option>)}
      </select></label>
      <button type="button" disabled={!chosen} onClick={() => ask({
        title: has ? `Stop ${named(name)} from consuming ${chosen}?` : `Have ${named(name)} consume ${chosen}?`,
        body: <p>One worker, until it is restarted. It consumes {brief(consumes.join(", ") || "no queue")}.</p>,
        action: has ? "Stop consuming" : "Consume",
        danger: has,
        run: () => command(name, has ? "cancel" : "consume", { queue: chosen }),
      })}>{has ? "Stop consuming" : "Consume"}</button>
      <span class="gap" />
      <button type="button" disabled={(worker.concurrency ?? 0) <= 1} onClick={() => resize(-1)}>− slot</button>
      <button type="button" onClick={() => resize(1)}>+ slot</button>
      <span class="gap" />
      <button type="button" class="danger" onClick={() => ask({
        title: `Shut ${named(name)} down?`,
        body: <p>It takes nothing new, ends {many(worker.running ?? 0, "task")} that it runs, and stops. Whoever supervises it may start it again.</p>,
        action: "Shut down 1 worker",
        danger: true,
        run: () => command(name, "shutdown", undefined),
      })}>Shut down</button>
    </div>
  );
}

export function Workers() {
  const found = useWorkers();
  const workers = found.data.value?.workers;
  const wanted = place.value.query.get("queue") ?? "";
  // Somebody came to have a queue consumed: the first worker that could is asked about.
  const able = wanted && isAdmin.value ? workers?.find((one) => one.status === "online" && !one.queues?.includes(wanted))?.name : undefined;
  const [chosen, setOpen] = useState<string | null | undefined>(undefined);
  const open = chosen === undefined ? able ?? null : chosen;
  const columns: Column<Worker>[] = [
    { id: "name", head: "Worker", cell: (one) => <span class="strong break">{brief(one.name, 160)}</span> },
    { id: "status", head: "Status", cell: (one) => <span class={`state worker-${one.status}`}><i aria-hidden="true" />{one.status}</span> },
    { id: "pool", head: "Pool", cell: (one) => one.pool ?? "–" },
    { id: "busy", head: "Busy", end: true, cell: (one) => (
      <span class="busy">
        {one.concurrency ? <progress max={one.concurrency} value={one.running ?? 0} aria-label={`${one.name}: slots busy`} /> : null}
        <span>{count(one.running)} / {count(one.concurrency)}</span>
      </span>
    ) },
    { id: "processed", head: "Begun", end: true, cell: (one) => count(one.processed) },
    { id: "queues", head: "Queues", cell: (one) => (
      <span class="chips">
        {one.queues?.slice(0, MOST_QUEUES).map((queue) => <a key={queue} href={to(["queues", queue])} class="tag">{brief(queue, 60)}</a>) ?? "–"}
        {one.queues && one.queues.length > MOST_QUEUES && <span class="quiet">and {count(one.queues.length - MOST_QUEUES)} more</span>}
      </span>
    ) },
    { id: "heard", head: "Heard", end: true, cell: (one) => <Ago at={one.last_heard_at} /> },
    { id: "actions", head: "", end: true, cell: (one) => (
      <span class="actions">
        <a class="button plain" href={to(["tasks"], { worker: one.name })}>Tasks<span class="hidden"> of {one.name}</span></a>
        {isAdmin.value && one.status !== "gone" && (
          <button type="button" class="plain" aria-expanded={open === one.name} onClick={() => setOpen(open === one.name ? null : one.name)}>
            Commands<span class="hidden"> for {one.name}</span>
          </button>
        )}
      </span>
    ) },
  ];
  return (
    <Section title="Workers" id="workers" aside={workers && <>{many(workers.filter((one) => one.status === "online").length, "worker")} online</>}>
      <Stale of={found} />
      {!workers ? (found.problem.value ? <Trouble problem={found.problem.value} what="workers" /> : <Loading />)
        : workers.length === 0 ? <Empty>No worker has been heard of. <code>celery -A tasks.worker worker</code> starts one.</Empty>
        : <Table kind="t-workers" label="Workers" columns={columns} rows={workers} name={(one) => one.name}
            below={(one) => (
              <>
                {one.software && <p class="quiet small">{one.software}</p>}
                {open === one.name && <Commands key={wanted} worker={one} wanted={wanted} />}
              </>
            )} />}
    </Section>
  );
}
