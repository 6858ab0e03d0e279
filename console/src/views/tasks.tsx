// Tasks: every filter of the API in the address, and the newest as they come.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, isAdmin, words } from "../api";
import { brief, many } from "../format";
import { numberOf } from "../json";
import { pushed, useTask } from "../live";
import { Ago, Empty, Loading, Runtime, Section, State, TaskLink, Trouble } from "../parts/bits";
import { Table, type Column } from "../parts/table";
import { go, place, setQuery, to } from "../router";
import { STATES, type Task, type TaskPage } from "../types";
import { bulk } from "./retrying";

const PAGE = 200;
const FOLLOW_MS = 2000;
/** Scrolled down by more, somebody reads: nothing moves under their eyes. */
const READING_PX = 400;
const MOST = 20_000;
const FILTERS = ["state", "task", "queue", "worker", "error", "failure", "since", "until", "root", "q"] as const;
const TEXTS: [(typeof FILTERS)[number], string, string][] = [
  ["q", "Words or id", "name, error, arguments"], ["task", "Task", "reports.*"], ["queue", "Queue", "default"],
  ["worker", "Worker", "celery@host"], ["error", "Error", "ValueError"],
];
const narrow = matchMedia("(max-width: 760px)");
const SPANS: [string, number][] = [["15 min", 900], ["1 h", 3600], ["24 h", 86_400], ["7 d", 604_800]];

function filters(): Record<string, string> {
  const query = place.value.query;
  return Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]).filter(([, value]) => value)) as Record<string, string>;
}

/** The filters as the API takes them: `since=1h` is an hour before now. */
export function asked(shown: Record<string, string>): Record<string, string> {
  const since = /^(\d+)(m|h|d)$/.exec(shown["since"] ?? "");
  if (!since) return shown;
  const seconds = Number(since[1]) * { m: 60, h: 3600, d: 86_400 }[since[2] as "m" | "h" | "d"];
  return { ...shown, since: new Date(Date.now() - seconds * 1000).toISOString() };
}

/** The rows with what was found of those that the socket says nothing of; the same list where that is no news. */
function renewed(rows: Task[], found: Task[]): Task[] {
  const news = new Map(found.filter((one) => !pushed(one.id)).map((one) => [one.id, one]));
  const made = rows.map((one) => {
    const now = news.get(one.id);
    return now && (now.state !== one.state || numberOf(now.retries) !== numberOf(one.retries) || now.worker !== one.worker) ? now : one;
  });
  return made.some((one, i) => one !== rows[i]) ? made : rows;
}

/** The pages of a list: the newest as they come, the older on demand. */
export function useTasks(shown: Record<string, string>, following: boolean) {
  const [tasks, setTasks] = useState<Task[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const [loading, setLoading] = useState(false);
  /** Why older tasks could not be had: they are not asked for again by themselves. */
  const [stuck, setStuck] = useState<unknown>(null);
  const [waiting, setWaiting] = useState(0);
  const known = useRef<Task[]>([]);
  const text = JSON.stringify(shown);
  const turn = useRef(0);
  const page = (cursor?: string) => get<TaskPage>(`/v1/tasks?${new URLSearchParams({
    ...asked(shown), limit: String(PAGE), ...(cursor ? { cursor } : {}),
  })}`);
  useEffect(() => {
    const mine = ++turn.current;
    setTasks(null);
    setProblem(null);
    setStuck(null);
    setWaiting(0);
    known.current = [];
    let timer = 0;
    async function look(first: boolean): Promise<void> {
      try {
        if (first || (!document.hidden && following)) {
          const found = await page();
          if (mine !== turn.current) return;
          setProblem(null);
          const ids = new Set(first ? [] : known.current.map((one) => one.id));
          const fresh = found.tasks.filter((one) => !ids.has(one.id));
          const rows = renewed(known.current, found.tasks);
          if (rows !== known.current) setTasks((known.current = rows));
          if (!first && scrollY > READING_PX) {
            setWaiting(fresh.length);
          } else if (fresh.length || first) {
            // Of more than a page of new ones the oldest are not known: the list begins anew.
            const gap = fresh.length === found.tasks.length;
            setTasks((known.current = gap ? found.tasks : [...fresh, ...known.current].slice(0, MOST)));
            if (gap) setNext(found.next);
            setWaiting(0);
          }
          first = false;
        }
      } catch (error) {
        if (mine !== turn.current) return;
        setProblem(error);
      }
      timer = window.setTimeout(() => void look(first), first ? 5000 : FOLLOW_MS);
    }
    void look(true);
    return () => clearTimeout(timer);
  }, [text, following]);
  async function more(): Promise<void> {
    if (!next || loading) return;
    setLoading(true);
    setStuck(null);
    const mine = turn.current;
    try {
      const found = await page(next);
      if (mine === turn.current) {
        setTasks((known.current = [...known.current, ...found.tasks]));
        setNext(found.next);
      }
    } catch (error) {
      if (mine === turn.current) setStuck(error);
    }
    setLoading(false);
  }
  return { tasks, next, problem, more, loading, stuck, waiting };
}

function LiveState({ task }: { task: Task }) {
  return <State state={(useTask(task.id, task) ?? task).state} />;
}

function LiveRuntime({ task }: { task: Task }) {
  return <Runtime task={useTask(task.id, task) ?? task} />;
}

function LiveNote({ task }: { task: Task }) {
  const now = useTask(task.id, task) ?? task;
  if (now.error) return <span class="clip bad-text" title={brief(now.error.message)}>{brief(`${now.error.type}: ${now.error.message}`)}</span>;
  return <span class="clip quiet">{brief(now.progress?.message ?? now.worker ?? "")}</span>;
}

const COLUMNS: Column<Task>[] = [
  { id: "state", head: "State", cell: (task) => <LiveState task={task} /> },
  { id: "task", head: "Task", cell: (task) => <a class="strong clip" href={to(["tasks", task.id])}>{brief(task.task ?? task.id)}</a> },
  { id: "id", head: "Id", cell: (task) => <TaskLink id={task.id} /> },
  { id: "note", head: "Error or worker", cell: (task) => <LiveNote task={task} /> },
  { id: "queue", head: "Queue", cell: (task) => <span class="clip">{brief(task.queue ?? "–")}</span> },
  { id: "runtime", head: "Took", end: true, cell: (task) => <LiveRuntime task={task} /> },
  { id: "at", head: "Accepted", end: true, cell: (task) => <Ago at={task.accepted_at ?? task.started_at ?? task.finished_at} /> },
];

export function TaskTable({ list }: { list: ReturnType<typeof useTasks> }) {
  const { tasks, next, problem, more, loading, stuck, waiting } = list;
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (stuck !== null) return undefined;
    const watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && void more(), { rootMargin: "600px" });
    if (end.current) watcher.observe(end.current);
    return () => watcher.disconnect();
  });
  if (!tasks) return problem ? <Trouble problem={problem} what="history" /> : <Loading />;
  return (
    <>
      {problem !== null && <Trouble problem={problem} what="history" />}
      {waiting > 0 && (
        <button type="button" class="primary newer" onClick={() => scrollTo(0, 0)}>
          {waiting >= PAGE ? `${PAGE} or more newer tasks` : many(waiting, "newer task")}
        </button>
      )}
      {tasks.length === 0 ? <Empty>No task matches.</Empty>
        : <Table kind="t-tasks" label="Tasks" columns={COLUMNS} rows={tasks} name={(one) => one.id} heights={[36, 64]} />}
      {stuck !== null && <p class="notice bad" role="alert"><b>Cannot show older tasks.</b> {brief(words(stuck), 2000)}</p>}
      {next && <div ref={end} class="more"><button type="button" onClick={() => void more()} disabled={loading}>{loading ? "Loading…" : stuck !== null ? "Try again" : "Older tasks"}</button></div>}
    </>
  );
}

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-[0-9a-f]+)?$/i;

/** An id, as somebody has it from a log, is no word: it leads to its task. */
function filter(name: string, value: string): void {
  if (name === "q" && ID.test(value)) go(to(["tasks", value]));
  else setQuery({ [name]: value });
}

function Filters({ shown }: { shown: Record<string, string> }) {
  const states = new Set((shown["state"] ?? "").split(",").filter(Boolean));
  const toggle = (state: string) => {
    const next = new Set(states);
    if (!next.delete(state)) next.add(state);
    setQuery({ state: STATES.filter((one) => next.has(one)).join(",") });
  };
  const more = FILTERS.filter((name) => ["failure", "root", "until"].includes(name) && shown[name]);
  return (
    <form class="filters" role="search" aria-label="Filter tasks" onSubmit={(event) => event.preventDefault()}>
      <div class="states" role="group" aria-label="States">
        {STATES.map((state) => (
          <button key={state} type="button" class="toggle" aria-pressed={states.has(state)} onClick={() => toggle(state)}>
            <State state={state} />
          </button>
        ))}
      </div>
      <details class="more-filters" open={!narrow.matches || TEXTS.some(([name]) => shown[name])}>
      <summary>Filters</summary>
      <div class="texts">
        {TEXTS.map(([name, words, example]) => (
          <label key={name}>{words}
            <input type="search" name={name} placeholder={example} value={shown[name] ?? ""} autocomplete="off" spellcheck={false}
              onChange={(event) => filter(name, event.currentTarget.value.trim())} />
          </label>
        ))}
        <label>Since
          <select name="since" value={shown["since"] ?? ""} onChange={(event) => setQuery({ since: event.currentTarget.value })}>
            <option value="">any time</option>
            {SPANS.map(([words, s]) => <option key={s} value={s < 3600 ? `${s / 60}m` : s < 86_400 ? `${s / 3600}h` : `${s / 86_400}d`}>{words}</option>)}
            {shown["since"] && !/^(15m|1h|1d|7d)$/.test(shown["since"]) && <option value={shown["since"]}>{shown["since"]}</option>}
          </select>
        </label>
      </div>
      </details>
      {more.length > 0 && (
        <p class="chips">
          {more.map((name) => (
            <button key={name} type="button" class="tag" onClick={() => setQuery({ [name]: "" })}>{name}: {shown[name]} ✕<span class="hidden"> remove</span></button>
          ))}
        </p>
      )}
    </form>
  );
}

export function Tasks() {
  const shown = filters();
  const [following, setFollowing] = useState(true);
  const list = useTasks(shown, following);
  const filtered = Object.keys(shown).length > 0;
  return (
    <Section title="Tasks" id="tasks" aside={
      <span class="actions">
        <label class="check"><input type="checkbox" checked={following} onChange={(event) => setFollowing(event.currentTarget.checked)} /> Follow live</label>
        {filtered && <button type="button" class="plain" onClick={() => setQuery(Object.fromEntries(FILTERS.map((name) => [name, ""])))}>Clear</button>}
        {isAdmin.value && filtered && <button type="button" onClick={() => bulk("retry", asked(shown))}>Retry matching…</button>}
        {isAdmin.value && filtered && <button type="button" onClick={() => bulk("revoke", asked(shown))}>Revoke matching…</button>}
      </span>
    }>
      <Filters shown={shown} />
      <TaskTable list={list} />
    </Section>
  );
}
