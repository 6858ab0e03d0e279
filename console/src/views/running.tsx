// What runs now: progress, lines of output as they come, and an end if need be.
import { useEffect, useRef, useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { call, get, may, path } from "../api";
import { brief, count, many, named } from "../format";
import { pushed, useLines, useTask } from "../live";
import { Bar, Empty, Loading, Runtime, Section, Stale, State, TaskLink, Trouble } from "../parts/bits";
import { ask } from "../parts/dialog";
import { useWorkers } from "../parts/health";
import { Table, type Column } from "../parts/table";
import { to } from "../router";
import { FINAL, type Task } from "../types";

const EVERY_MS = 3000;
const MOST = 200;
/** Workers that are asked what they run: those that run most. */
const MOST_ASKED = 20;
const AT_ONCE = 4;
const open = signal<ReadonlySet<string>>(new Set());

interface Found { tasks: Task[] | null; problem: unknown }

/** The lists of some workers, a few asked at a time; of one that fails, the list from before. */
async function listsOf(names: string[], before: Map<string, Task[]>, stop: AbortSignal): Promise<{ lists: Map<string, Task[]>; problem: unknown }> {
  const lists = new Map<string, Task[]>();
  let problem: unknown = null;
  for (let i = 0; i < names.length; i += AT_ONCE) {
    const some = names.slice(i, i + AT_ONCE);
    const answers = await Promise.allSettled(some.map((name) => get<{ tasks: Task[] }>(path`/v1/workers/${name}/tasks`, stop)));
    answers.forEach((one, j) => {
      const name = some[j]!;
      const known = one.status === "fulfilled" ? one.value.tasks : before.get(name);
      if (known) lists.set(name, known);
      if (one.status === "rejected") problem ??= one.reason;
    });
  }
  return { lists, problem };
}

/** What workers say they run; states and lines come by the socket, where it knows the task. */
function useRunning(workers: string[]): Found {
  const [found, setFound] = useState<Found>({ tasks: null, problem: null });
  // Which run most changes all the time: it is looked up at each turn, and begins no other.
  const names = useRef(workers);
  names.current = workers;
  const some = workers.length > 0;
  useEffect(() => {
    let timer = 0;
    let known = new Map<string, Task[]>();
    const stop = new AbortController();
    async function look(): Promise<void> {
      if (!document.hidden) {
        const { lists, problem } = await listsOf(names.current, known, stop.signal);
        if (stop.signal.aborted) return;
        known = lists;
        const nothing = lists.size === 0 && problem !== null;
        const tasks = [...lists.values()].flat().sort((a, b) => (a.started_at ?? "").localeCompare(b.started_at ?? ""));
        setFound(({ tasks: before }) => {
          // What is pushed stays as it is: its changes come by the socket.
          const kept = new Map(before?.filter((one) => pushed(one.id)).map((one) => [one.id, one]));
          return { tasks: nothing ? before : tasks.map((one) => kept.get(one.id) ?? one), problem };
        });
      }
      timer = window.setTimeout(() => void look(), EVERY_MS);
    }
    void look();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [some]);
  return found;
}

export function terminate(task: Task): void {
  ask({
    title: "Terminate this task?",
    body: <p>One task, <b>{brief(task.task ?? task.id, 120)}</b>, is stopped on {named(task.worker ?? "its worker")}. It ends REVOKED, with what waits for it.</p>,
    action: "Terminate 1 task",
    danger: true,
    run: async () => {
      const answer = await call<{ state?: string }>("DELETE", `${path`/v1/tasks/${task.id}`}?terminate=true`);
      return answer.state === "REVOKED" ? "The task is revoked" : "The task is being stopped";
    },
  });
}

function Live({ task, show }: { task: Task; show: "state" | "progress" | "runtime" }) {
  const now = useTask(task.id, task) ?? task;
  if (show === "progress") return <Bar progress={now.progress} />;
  if (show === "runtime") return <Runtime task={now} />;
  return <State state={now.state} />;
}

const MOST_OF_A_LINE = 2000;

/** Lines of output, the latest in sight. */
export function Output({ lines }: { lines: string[] }) {
  const text = useRef<HTMLPreElement>(null);
  useEffect(() => {
    const box = text.current!;
    const first = !box.dataset["read"];
    box.dataset["read"] = "1";
    if (first || box.scrollHeight - box.scrollTop - box.clientHeight < 120) box.scrollTop = box.scrollHeight;
  }, [lines]);
  return <pre ref={text} class="lines" tabIndex={0} aria-label="Lines of output">{lines.map((one) => brief(one, MOST_OF_A_LINE)).join("\n")}</pre>;
}

function Lines({ id }: { id: string }) {
  const lines = useLines(id);
  return lines.length
    ? <Output lines={lines.slice(-200)} />
    : <p class="quiet">{pushed(id) ? "No line of output yet." : "Its lines are not sent to this page."}</p>;
}

function toggle(id: string): void {
  const next = new Set(open.value);
  if (!next.delete(id)) next.add(id);
  open.value = next;
}

const COLUMNS: Column<Task>[] = [
  { id: "task", head: "Task", cell: (task) => <a class="strong clip" href={to(["tasks", task.id])}>{brief(task.task ?? task.id)}</a> },
  { id: "id", head: "Id", cell: (task) => <TaskLink id={task.id} /> },
  { id: "state", head: "State", cell: (task) => <Live task={task} show="state" /> },
  { id: "progress", head: "Progress", cell: (task) => <Live task={task} show="progress" /> },
  { id: "runtime", head: "Runs for", end: true, cell: (task) => <Live task={task} show="runtime" /> },
  { id: "worker", head: "Worker", cell: (task) => <span class="clip" title={brief(task.worker ?? "")}>{brief(task.worker ?? "")}</span> },
  { id: "actions", head: "", end: true, cell: (task) => <Actions task={task} /> },
];

function Actions({ task }: { task: Task }) {
  return (
    <span class="actions">
      <button type="button" class="plain" aria-expanded={open.value.has(task.id)} onClick={() => toggle(task.id)}>
        Lines<span class="hidden"> of {brief(task.task ?? "", 60)} {task.id}</span>
      </button>
      {may("submit") && (
        <button type="button" class="plain" onClick={() => terminate(task)}>
          Terminate<span class="hidden"> {brief(task.task ?? "", 60)} {task.id}</span>
        </button>
      )}
    </span>
  );
}

export function Running() {
  const workers = useWorkers();
  const online = workers.data.value?.workers.filter((one) => one.status === "online");
  // How many tasks a worker runs is known some seconds late: of few workers all are asked.
  const asked = online && [...online].sort((a, b) => (b.running ?? 0) - (a.running ?? 0)).slice(0, MOST_ASKED);
  const others = online && asked ? online.filter((one) => one.running !== 0 && !asked.includes(one)).length : 0;
  const { tasks, problem } = useRunning(asked?.map((one) => one.name) ?? []);
  const shown = tasks?.filter((one) => !FINAL.has(one.state));
  return (
    <Section title="Running now" id="running" aside={shown && <>{count(shown.length)} {shown.length === 1 ? "task" : "tasks"}</>}>
      <Stale of={{ data: { value: shown }, problem: { value: problem } }} />
      {!shown || !asked ? (problem ?? workers.problem.value ? <Trouble problem={problem ?? workers.problem.value} what="what runs" /> : <Loading />)
        : shown.length === 0 ? <Empty>Nothing runs.</Empty>
        : <Table kind="t-running" label="Running tasks" columns={COLUMNS} rows={shown.slice(0, MOST)} name={(one) => one.id}
            below={(task) => open.value.has(task.id) && <Lines id={task.id} />} />}
      {others > 0 && (
        <p class="quiet">Of the {MOST_ASKED} workers that run most. {many(others, "more worker")} {others === 1 ? "is" : "are"} busy: <a href={to(["tasks"], { state: "STARTED,PROGRESS" })}>all tasks that run</a>.</p>
      )}
      {shown && shown.length > MOST && (
        <p class="quiet">The {MOST} that began first; <a href={to(["tasks"], { state: "STARTED,PROGRESS" })}>all of them</a>.</p>
      )}
    </Section>
  );
}
