// Periodic tasks: when each runs, whether it does, and changes to it.
import { useEffect, useRef, useState } from "preact/hooks";
import { call, caller, get, isAdmin, may, path, post, words } from "../api";
import { count, duration } from "../format";
import { json, numberOf, parse } from "../json";
import { useTask } from "../live";
import { Ago, Empty, Loading, Section, Stale, State, TaskLink, Trouble, useInSight } from "../parts/bits";
import { ask } from "../parts/dialog";
import { Table, type Column } from "../parts/table";
import { useResource } from "../resource";
import { encoded, to } from "../router";
import { FINAL, type CatalogTask, type Receipt, type Schedule, type Task, type TaskPage } from "../types";

const CRON = ["minute", "hour", "day_of_month", "month_of_year", "day_of_week"];

function at(schedule: Schedule, more = ""): string {
  return `${path`/v1/schedules/${schedule.name}`}${more}${isAdmin.value ? `?tenant=${encoded(schedule.tenant)}` : ""}`;
}

export function when(schedule: Schedule): string {
  if (schedule.every !== undefined) return `every ${duration(numberOf(schedule.every))}`;
  if (schedule.crontab) {
    const zone = schedule.crontab["timezone"];
    return `${CRON.map((field) => schedule.crontab![field] ?? "*").join(" ")}${zone && zone !== "UTC" ? ` ${zone}` : ""}`;
  }
  if (schedule.solar) return `at ${schedule.solar["event"]}`;
  return "by its program";
}

/** A schedule as its PUT takes it. */
function definition(schedule: Schedule): Record<string, unknown> {
  const { task, args, kwargs, options, enabled, every, crontab, solar } = schedule;
  return { task, args, kwargs, options, enabled, ...(every === undefined ? {} : { every }), ...(crontab ? { crontab } : {}), ...(solar ? { solar } : {}) };
}

const ASK_AGAIN_MS = 10_000;

/**
 * The task of the last run, where exactly one of its name was accepted then; of several it is not known which.
 * Asked for again while it is absent or has not ended, and the row is in sight.
 */
function useLastTask({ task: name, last_run_at: ran }: Schedule, inSight: boolean): Task | null {
  const [found, setFound] = useState<{ ran: string; tasks: Task[] } | null>(null);
  const tasks = found && found.ran === ran ? found.tasks : [];
  const [task = null] = tasks.length === 1 ? tasks : [];
  const settled = tasks.length > 1 || (task !== null && FINAL.has(task.state));
  useEffect(() => {
    if (!ran || !inSight || settled) return undefined;
    const stop = new AbortController();
    const around = (ms: number) => new Date(Date.parse(ran) + ms).toISOString();
    const query = new URLSearchParams({ task: name, since: around(-2000), until: around(8000), limit: "2" });
    // Without an answer there is no outcome yet: the health line says that history is away.
    const look = () => get<TaskPage>(`/v1/tasks?${query}`, stop.signal).then((page) => setFound({ ran, tasks: page.tasks }), () => undefined);
    void look();
    const timer = setInterval(() => document.hidden || void look(), ASK_AGAIN_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [name, ran, inSight, settled]);
  return task;
}

function Outcome({ task }: { task: Task }) {
  const now = useTask(task.id, task) ?? task;
  return <TaskLink id={task.id}><State state={now.state} /></TaskLink>;
}

function LastRun({ schedule }: { schedule: Schedule }) {
  const place = useRef<HTMLSpanElement>(null);
  const task = useLastTask(schedule, useInSight(place));
  return <span ref={place}><Ago at={schedule.last_run_at} /> {task && <Outcome task={task} />}</span>;
}

function Switch({ schedule }: { schedule: Schedule }) {
  const on = schedule.enabled;
  return (
    <button type="button" role="switch" class="switch" aria-checked={on} aria-label={`${schedule.name} runs`} disabled={!may("schedule") || !!schedule.schedule}
      onClick={() => ask({
        title: `${on ? "Switch off" : "Switch on"} ${schedule.name}?`,
        body: <p>One schedule: <b>{schedule.task}</b>, {when(schedule)}. {on ? "It does not run until it is switched on." : "It runs again from its next time on."}</p>,
        action: on ? "Switch off" : "Switch on",
        run: async () => {
          await call("PUT", at(schedule), { ...definition(schedule), enabled: !on });
          return `${schedule.name} is ${on ? "off" : "on"}`;
        },
      })}><i aria-hidden="true" /></button>
  );
}

interface Draft { name: string; task: string; kind: "every" | "crontab"; every: string; cron: string; zone: string; args: string; kwargs: string; options: string }

function draftOf(schedule: Schedule | null): Draft {
  return {
    name: schedule?.name ?? "", task: schedule?.task ?? "",
    kind: schedule?.crontab ? "crontab" : "every", every: json(schedule?.every ?? 60),
    cron: CRON.map((field) => schedule?.crontab?.[field] ?? "*").join(" "), zone: schedule?.crontab?.["timezone"] ?? "UTC",
    args: json(schedule?.args ?? []), kwargs: json(schedule?.kwargs ?? {}), options: json(schedule?.options ?? {}),
  };
}

/** Which schedule a new one would take the place of: one's own, and with `admin` a shipped one. */
function taken(schedules: Schedule[], name: string): Schedule | undefined {
  const tenants = [caller.value?.tenant, ...(isAdmin.value ? ["admin"] : [])];
  return tenants.map((tenant) => schedules.find((one) => one.tenant === tenant && one.name === name)).find(Boolean);
}

function Editor({ schedule, others = [], close }: { schedule: Schedule | null; others?: Schedule[]; close: () => void }) {
  const [draft, setDraft] = useState(() => draftOf(schedule));
  const [problem, setProblem] = useState("");
  const tasks = useResource<{ tasks: CatalogTask[] }>("/v1/catalog", 60_000).data.value?.tasks ?? [];
  const set = (changes: Partial<Draft>) => setDraft({ ...draft, ...changes });
  const text = (name: keyof Draft, label: string, more: Record<string, unknown> = {}) => (
    <div class="field">
      <label for={`schedule-${name}`}>{label}</label>
      <input id={`schedule-${name}`} value={draft[name]} spellcheck={false} onInput={(event) => set({ [name]: event.currentTarget.value })} {...more} />
    </div>
  );
  function body(): Record<string, unknown> {
    const fields = draft.cron.trim().split(/\s+/);
    if (draft.kind === "crontab" && fields.length !== 5) throw new Error("A crontab has five fields: minute, hour, day, month, weekday");
    return {
      task: draft.task, args: parse(draft.args), kwargs: parse(draft.kwargs), options: parse(draft.options),
      enabled: schedule?.enabled ?? true,
      ...(schedule?.solar ? { solar: schedule.solar } : draft.kind === "every" ? { every: Number(draft.every) }
        : { crontab: { ...Object.fromEntries(CRON.map((field, i) => [field, fields[i]])), timezone: draft.zone } }),
    };
  }
  function save(event: Event): void {
    event.preventDefault();
    setProblem("");
    let made: Record<string, unknown>;
    try {
      made = body();
    } catch (error) {
      setProblem(error instanceof SyntaxError ? "Arguments and options are JSON: texts stand in quotes" : words(error) && (error as Error).message);
      return;
    }
    const replaced = schedule ? undefined : taken(others, draft.name);
    ask({
      title: schedule ? `Change ${schedule.name}?` : replaced ? `Replace ${draft.name}, which runs ${replaced.task}?` : `Make ${draft.name}?`,
      body: replaced
        ? <p>There is a schedule of this name{replaced.tenant !== caller.value?.tenant && ", shipped with the deployment"}: <b>{replaced.task}</b>, {when(replaced)}.
          It ends, and <b>{draft.task}</b> runs in its place.</p>
        : <p>One schedule, which runs <b>{draft.task}</b>.</p>,
      action: `${schedule ? "Change" : replaced ? "Replace" : "Make"} 1 schedule`,
      danger: replaced !== undefined,
      run: async () => {
        await call("PUT", schedule ? at(schedule) : path`/v1/schedules/${draft.name}`, made);
        close();
        return `${schedule?.name ?? draft.name} is saved`;
      },
    });
  }
  return (
    <form class="card editor" onSubmit={save}>
      <h3>{schedule ? `Edit ${schedule.name}` : "A new schedule"}</h3>
      {!schedule && text("name", "Name", { required: true })}
      {text("task", "Task", { required: true, list: "known-tasks" })}
      <datalist id="known-tasks">{tasks.map((one) => <option key={one.name} value={one.name} />)}</datalist>
      {schedule?.solar ? <p class="quiet">At {String(schedule.solar["event"])}; the place is changed through the API.</p> : (
        <>
          <div class="field">
            <label for="schedule-kind">When</label>
            <select id="schedule-kind" value={draft.kind} onChange={(event) => set({ kind: event.currentTarget.value as Draft["kind"] })}>
              <option value="every">at an interval</option><option value="crontab">by crontab</option>
            </select>
          </div>
          {draft.kind === "every" ? text("every", "Seconds between", { type: "number", min: 0.1, step: "any", required: true })
            : <>{text("cron", "Minute, hour, day, month, weekday", { class: "mono" })}{text("zone", "Time zone")}</>}
        </>
      )}
      {text("args", "Arguments", { class: "mono" })}
      {text("kwargs", "Keyword arguments", { class: "mono" })}
      {text("options", "Options", { class: "mono" })}
      {problem && <p class="notice bad" role="alert">{problem}</p>}
      <footer>
        <button type="button" class="plain" onClick={close}>Cancel</button>
        <button class="primary">Save…</button>
      </footer>
    </form>
  );
}

export function Schedules() {
  const found = useResource<{ schedules: Schedule[]; warning?: string }>("/v1/schedules", 10_000);
  const [editing, setEditing] = useState<string | null>(null);
  const schedules = found.data.value?.schedules;
  const name = (one: Schedule) => `${one.tenant}/${one.name}`;
  if (caller.value && !may("schedule")) {
    return <Section title="Schedules" id="schedules"><p class="notice">This key lacks the scope <code>schedule</code>.</p></Section>;
  }
  const columns: Column<Schedule>[] = [
    { id: "on", head: "On", cell: (one) => <Switch schedule={one} /> },
    { id: "name", head: "Schedule", cell: (one) => <><span class="strong break">{one.name}</span>{isAdmin.value && one.tenant !== caller.value?.tenant && <span class="quiet small"> {one.tenant}</span>}</> },
    { id: "task", head: "Task", cell: (one) => <span class="clip">{one.task}</span> },
    { id: "when", head: "When", cell: (one) => <span class={one.crontab ? "mono" : ""}>{when(one)}</span> },
    { id: "last", head: "Last run", cell: (one) => <LastRun schedule={one} /> },
    { id: "next", head: "Next run", cell: (one) => one.enabled ? <Ago at={one.next_run_at} future /> : <span class="quiet">off</span> },
    { id: "runs", head: "Runs", end: true, cell: (one) => count(one.total_runs) },
    { id: "actions", head: "", end: true, cell: (one) => (
      <span class="actions">
        <button type="button" class="plain" onClick={() => ask({
          title: `Run ${one.name} now?`,
          body: <p>One task, <b>{one.task}</b>, is submitted at once; its next run stays as it is.</p>,
          action: "Run 1 task",
          run: async () => {
            const { task, id } = await post<Receipt>(at(one, "/run"), undefined);
            return [`Submitted ${task}`, to(["tasks", id])];
          },
        })}>Run now<span class="hidden"> {one.name}</span></button>
        <button type="button" class="plain" disabled={!!one.schedule} aria-expanded={editing === name(one)}
          onClick={() => setEditing(editing === name(one) ? null : name(one))}>Edit<span class="hidden"> {one.name}</span></button>
        <button type="button" class="plain" onClick={() => ask({
          title: `Delete ${one.name}?`, body: <p>One schedule, which has run {count(one.total_runs)} times.</p>,
          action: "Delete 1 schedule", danger: true,
          run: async () => {
            await call("DELETE", at(one));
            return `${one.name} is deleted`;
          },
        })}>Delete<span class="hidden"> {one.name}</span></button>
      </span>
    ) },
  ];
  return (
    <Section title="Schedules" id="schedules" aside={<button type="button" onClick={() => setEditing(editing === "new" ? null : "new")}>New schedule</button>}>
      {found.data.value?.warning && <p class="notice warn" role="status">{found.data.value.warning}</p>}
      {editing === "new" && <Editor schedule={null} others={schedules ?? []} close={() => setEditing(null)} />}
      <Stale of={found} />
      {!schedules ? (found.problem.value ? <Trouble problem={found.problem.value} what="schedules" /> : <Loading />)
        : schedules.length === 0 ? <Empty>There are no schedules.</Empty>
        : <Table kind="t-schedules" label="Schedules" columns={columns} rows={schedules} name={name}
            below={(one) => (one.suspended || one.warning || editing === name(one)) && (
              <>
                {one.suspended && <p class="notice warn">Suspended: {one.suspended}</p>}
                {one.warning && <p class="notice warn">{one.warning}</p>}
                {editing === name(one) && <Editor schedule={one} close={() => setEditing(null)} />}
              </>
            )} />}
    </Section>
  );
}

