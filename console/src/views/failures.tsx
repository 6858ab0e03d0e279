// Failures in groups: of the last day, or of a period that the address names.
import { useState } from "preact/hooks";
import { get, isAdmin, path } from "../api";
import { brief, count, many } from "../format";
import { Ago, Code, Empty, Json, Loading, Section, Stale, TaskLink, Trouble } from "../parts/bits";
import { Hours } from "../parts/plot";
import { Table, type Column } from "../parts/table";
import { useOnce, useResource } from "../resource";
import { place, setQuery, to } from "../router";
import type { Failure, FailureList, Task } from "../types";
import { retry, retryGroup } from "./retrying";
import { TaskTable, useTasks } from "./tasks";

const HOUR_MS = 3_600_000;
const ON_OVERVIEW = 10;

export interface Bounds { since: string; until: string }

function midnight(daysAgo: number): string {
  const day = new Date();
  day.setHours(0, 0, 0, 0);
  day.setDate(day.getDate() - daysAgo);
  return day.toISOString();
}

/** Whole hours, so that what was asked once is asked again, and history counts from an index. */
const hoursAgo = (hours: number) => new Date(Math.floor(Date.now() / HOUR_MS - hours + 1) * HOUR_MS).toISOString();

const PERIODS: [string, string, () => Bounds][] = [
  ["", "last 24 hours", () => ({ since: hoursAgo(24), until: "" })],
  ["today", "today", () => ({ since: midnight(0), until: "" })],
  ["yesterday", "yesterday", () => ({ since: midnight(1), until: midnight(0) })],
  ["7d", "last 7 days", () => ({ since: hoursAgo(7 * 24), until: "" })],
];

function boundsOf(period: string): Bounds {
  return (PERIODS.find(([name]) => name === period) ?? PERIODS[0]!)[2]();
}

function useFailures(period: string, more: Record<string, string> = {}) {
  const bounds = period ? boundsOf(period) : { since: "", until: "" };
  const query = new URLSearchParams(Object.entries({ ...bounds, ...more }).filter(([, value]) => value));
  return useResource<FailureList>(`/v1/failures${query.size ? `?${query}` : ""}`, 10_000);
}

function errorOf(one: Failure): { type: string; message: string } {
  return one.error.type ? one.error : { type: "Unknown", message: one.error.message };
}

/** An example of a group: what it was given, and where it broke. */
function Example({ id }: { id: string }) {
  const { data: task, problem } = useOnce(() => get<Task>(`${path`/v1/tasks/${id}`}?with=request`), [id]);
  if (!task) return problem ? <Trouble problem={problem} what="the example" /> : <Loading />;
  const request = task.request;
  return (
    <div class="example">
      <p class="quiet">Latest: <TaskLink id={id}>{id}</TaskLink></p>
      {task.error && <p class="error-line"><b>{brief(task.error.type, 200)}</b> {brief(task.error.message, 2000)}</p>}
      {request ? <><h4>Arguments</h4><Json label="Arguments" value={request.args?.length ? { args: request.args, kwargs: request.kwargs } : request.kwargs ?? {}} /></>
        : <p class="quiet">Its arguments were not kept.</p>}
      {task.error?.traceback ? <><h4>Traceback</h4><Code label="Traceback" value={task.error.traceback} atEnd /></>
        : <p class="quiet">{isAdmin.value ? "No traceback was kept." : "Tracebacks are shown to admin keys only."}</p>}
      {isAdmin.value && <button type="button" onClick={() => retry([id], "1 task")}>Retry this one</button>}
    </div>
  );
}

function FailureTable({ failures, period }: { failures: Failure[]; period: string }) {
  const [open, setOpen] = useState<string | null>(null);
  const here = period ? { period } : undefined;
  const columns: Column<Failure>[] = [
    { id: "what", head: "Error", cell: (one) => {
      const error = errorOf(one);
      return <><a class="strong" href={to(["failures", one.failure], here)}>{brief(error.type, 60)}</a> <span class="clip quiet" title={brief(error.message)}>{brief(error.message)}</span></>;
    } },
    { id: "task", head: "Task", cell: (one) => <a class="clip" href={to(["tasks"], { task: one.task ?? "", state: "FAILURE" })}>{brief(one.task ?? "–")}</a> },
    { id: "count", head: "Count", end: true, cell: (one) => <b class="bad-text">{count(one.count)}</b> },
    { id: "hours", head: "By hour", cell: (one) => <Hours counts={one.per_hour} label={`${many(one.count, "failure")} by hour over a day`} /> },
    { id: "last", head: "Last", end: true, cell: (one) => <Ago at={one.last_at} /> },
    { id: "actions", head: "", end: true, cell: (one) => (
      <span class="actions">
        <button type="button" class="plain" aria-expanded={open === one.failure} onClick={() => setOpen(open === one.failure ? null : one.failure)}>
          Details<span class="hidden"> of {brief(errorOf(one).type, 60)} in {brief(one.task ?? "", 60)}</span>
        </button>
        {isAdmin.value && <button type="button" class="plain" onClick={() => retryGroup(one, boundsOf(period))}>Retry all<span class="hidden"> {brief(one.task ?? "", 60)}</span></button>}
      </span>
    ) },
  ];
  return (
    <Table kind="t-failures" label="Failures" columns={columns} rows={failures} name={(one) => one.failure}
      below={(one) => open === one.failure && <Example id={one.example} />} />
  );
}

function Sum({ list }: { list: FailureList }) {
  return <>{many(list.total ?? 0, "failure")} of {many(list.failures.length + (list.not_shown ?? 0), "kind")}</>;
}

export function FailuresToday() {
  const found = useFailures("", { limit: String(ON_OVERVIEW) });
  const list = found.data.value;
  return (
    <Section title="Failures, last day" id="failures" aside={list && <Sum list={list} />}>
      <Stale of={found} />
      {!list ? (found.problem.value ? <Trouble problem={found.problem.value} what="history" /> : <Loading />)
        : list.failures.length === 0 ? <Empty>Nothing failed.</Empty>
        : <FailureTable failures={list.failures} period="" />}
      {list?.not_shown ? <p class="quiet">The {ON_OVERVIEW} most frequent; <a href={to(["failures"])}>all {count(list.failures.length + list.not_shown)} kinds</a>.</p> : null}
    </Section>
  );
}

export function Failures() {
  const query = place.value.query;
  const [period, task, q] = ["period", "task", "q"].map((name) => query.get(name) ?? "") as [string, string, string];
  const found = useFailures(period, { task });
  const list = found.data.value;
  const words = q.toLowerCase();
  const shown = list?.failures.filter((one) => `${one.task} ${one.error.type} ${one.error.message}`.toLowerCase().includes(words));
  const field = (name: string, said: string, value: string, example: string) => (
    <label>{said}
      <input type="search" name={name} value={value} placeholder={example} autocomplete="off" spellcheck={false}
        onChange={(event) => setQuery({ [name]: event.currentTarget.value.trim() })} />
    </label>
  );
  return (
    <Section title="Failures" id="failures" aside={list && <Sum list={list} />}>
      <form class="filters" role="search" aria-label="Filter failures" onSubmit={(event) => event.preventDefault()}>
        <div class="texts">
          <label>Failed
            <select name="period" value={period} onChange={(event) => setQuery({ period: event.currentTarget.value })}>
              {PERIODS.map(([name, said]) => <option key={name} value={name}>{said}</option>)}
            </select>
          </label>
          {field("task", "Task", task, "imports.*")}
          {field("q", "Words", q, "in error or name")}
        </div>
      </form>
      <Stale of={found} />
      {!shown ? (found.problem.value ? <Trouble problem={found.problem.value} what="history" /> : <Loading />)
        : shown.length === 0 ? <Empty>{list!.failures.length ? "No failure matches." : "Nothing failed."}</Empty>
        : <FailureTable failures={shown} period={period} />}
      {list?.not_shown ? <p class="quiet">The {count(list.failures.length)} most frequent kinds; {count(list.not_shown)} more are left out. A filter by task shows others.</p> : null}
    </Section>
  );
}

export function FailureView({ id }: { id: string }) {
  const period = place.value.query.get("period") ?? "";
  const recent = useFailures(period).data.value?.failures.find((other) => other.failure === id);
  const week = useFailures("7d").data.value?.failures.find((other) => other.failure === id);
  const one = recent ?? week;
  const bounds = boundsOf(recent ? period : "7d");
  const list = useTasks({ failure: id }, true);
  const error = one && errorOf(one);
  return (
    <Section title={error ? brief(error.type, 80) : "Failure"} id="failure" aside={isAdmin.value && one && (
      <span class="actions"><button type="button" onClick={() => retryGroup(one, bounds)}>Retry all {count(one.count)}…</button></span>
    )}>
      {one && error && (
        <>
          <p class="error-line">{brief(error.message, 2000)}</p>
          <p class="quiet"><a href={to(["tasks"], { task: one.task ?? "" })}>{brief(one.task ?? "–")}</a> · {many(one.count, "time")} · first <Ago at={one.first_at} />, last <Ago at={one.last_at} /></p>
          <Hours counts={one.per_hour} label={`${many(one.count, "failure")} by hour over a day`} />
          <Example id={one.example} />
        </>
      )}
      <h3>Tasks</h3>
      <TaskTable list={list} />
    </Section>
  );
}
