// One task: what it was given, what became of it, step by step.
import { useEffect, useRef } from "preact/hooks";
import { call, get, isAdmin, may, path, Refusal, sourceOf } from "../api";
import { edit } from "../draft";
import { brief, duration, moment, timeOfDay } from "../format";
import { cut, numberOf } from "../json";
import { pushed, useLines, useTask, watchAgain } from "../live";
import { Ago, Bar, Empty, Fact, Json, Code, Loading, Runtime, Section, State, TaskLink, Trouble, whyUntracked } from "../parts/bits";
import { Canvas } from "../parts/canvas";
import { ask } from "../parts/dialog";
import { useOnce, useResource } from "../resource";
import { to } from "../router";
import { FINAL, type Task, type Timeline, UNTRACKED } from "../types";
import { retry } from "./retrying";
import { Output, terminate } from "./running";

/** Ask for the state with what history adds, else without. */
async function load(id: string): Promise<{ task: Task; history: boolean }> {
  try {
    return { task: await state(`${path`/v1/tasks/${id}`}?with=request`), history: true };
  } catch (error) {
    if (!(error instanceof Refusal) || ![400, 503].includes(error.status)) throw error;
    return { task: await state(path`/v1/tasks/${id}`), history: false };
  }
}

async function state(address: string): Promise<Task> {
  const task = await get<Task>(address);
  if (task.tracked === false) task.state = UNTRACKED;
  return task;
}

export function revoke(task: Task): void {
  ask({
    title: "Revoke this task?",
    body: <p>One task, <b>{brief(task.task ?? task.id, 120)}</b>, ends REVOKED without having run, with what waits for it.</p>,
    action: "Revoke 1 task",
    danger: true,
    run: async () => {
      const answer = await call<{ state?: string; tracked?: boolean }>("DELETE", path`/v1/tasks/${task.id}`);
      if (answer.tracked === false) return "No worker starts it any more";
      return answer.state === "REVOKED" ? "The task is revoked" : "Its worker is asked to drop it";
    },
  });
}

const timelineOf = (id: string) => get<Timeline>(path`/v1/tasks/${id}/timeline`);

function Changes({ data, problem }: { data: Timeline | null; problem: unknown }) {
  if (!data) return problem ? <Trouble problem={problem} what="history" /> : <Loading />;
  if (!data.changes.length) return <Empty>No change is known yet.</Empty>;
  return (
    <ol class="timeline">
      {data.changes.map((one, i) => {
        const before = data.changes[i - 1];
        const gap = before?.at && one.at ? (Date.parse(one.at) - Date.parse(before.at)) / 1000 : null;
        return (
          <li key={i}>
            {one.at && <time dateTime={one.at} title={moment(one.at)}>{timeOfDay(one.at)}</time>}
            <State state={one.state} />
            <span class="quiet">
              {one.attempt !== undefined && one.attempt > 0 && <>attempt {one.attempt + 1} · </>}
              {one.worker && <>{one.worker} · </>}
              {gap !== null && <>+{duration(gap)}</>}
            </span>
            {one.error && <span class="bad-text break">{brief(`${one.error.type}: ${one.error.message}`)}</span>}
          </li>
        );
      })}
    </ol>
  );
}

/** A link to where traces are shown (TRACE_URL), else the id alone. */
function Trace({ id }: { id: string }) {
  const url = useResource<{ trace_url?: string }>("/v1/catalog").data.value?.trace_url;
  return url ? <a href={url.replaceAll("{trace_id}", id)} rel="noreferrer">{id.slice(0, 8)}…</a> : <span class="mono">{id.slice(0, 8)}…</span>;
}

function Lines({ id, ended }: { id: string; ended: boolean }) {
  const lines = useLines(id);
  if (!lines.length) return ended || !pushed(id) ? null : <><h3>Output</h3><Empty>No line of output yet.</Empty></>;
  return <><h3>Output</h3><Output lines={lines} /></>;
}

const NOT_PUSHED_MS = 2500;

/** Ask for a task again and again while the socket says nothing of it. */
function useFresh(id: string, found: { data: unknown; problem: unknown; again: () => void }, ended: boolean): void {
  const asks = found.data !== null && !ended && !pushed(id);
  useEffect(() => {
    if (!asks) return undefined;
    const timer = setInterval(() => {
      if (document.hidden) return;
      watchAgain(id);
      found.again();
    }, NOT_PUSHED_MS);
    return () => clearInterval(timer);
  }, [id, asks]);
}

const BEHIND_MS = 800;
const MOST_TRIES = 4;

/** Every change, asked for again until it has the state of now: history is written at most 2 s behind. */
function useTimeline(id: string, state: string): { data: Timeline | null; problem: unknown } {
  const found = useOnce(() => timelineOf(id), [id]);
  const tried = useRef({ state: "", times: 0 });
  useEffect(() => {
    if (!found.data || !state || found.data.changes.at(-1)?.state === state) return undefined;
    if (tried.current.state !== state) tried.current = { state, times: 0 };
    if (++tried.current.times > MOST_TRIES) return undefined;
    const timer = setTimeout(found.again, BEHIND_MS);
    return () => clearTimeout(timer);
  }, [state, found.data]);
  return found;
}

function arguments_(request: Task["request"]): [string, unknown][] {
  const found: [string, unknown][] = (request?.args ?? []).map((one, i) => [`args[${i}]`, one]);
  return [...found, ...Object.entries(request?.kwargs ?? {})];
}

export function TaskView({ id }: { id: string }) {
  const found = useOnce(() => load(id), [id]);
  const { data, problem, again } = found;
  const listed = data?.task ?? null;
  const task = useTask(id, listed);
  const untracked = task?.state === UNTRACKED;
  useFresh(id, found, untracked || (task !== null && FINAL.has(task.state)));
  const timeline = useTimeline(id, untracked ? "" : task?.state ?? "");
  if (!task || !data) {
    return problem ? (
      <Section title="Task" id="task">
        <p class="mono break">{id}</p>
        <Trouble problem={problem} what="this task" />
        {problem instanceof Refusal && problem.status === 410 && <><h3>Timeline</h3><Changes {...timeline} /></>}
        <button type="button" onClick={again}>Try again</button>
      </Section>
    ) : <Loading />;
  }
  const ended = FINAL.has(task.state);
  const given = arguments_(listed?.request);
  const { queue, failure, root } = timeline.data ?? {};
  return (
    <Section title={brief(task.task ?? "Task", 200)} id="task" aside={
      <span class="actions">
        {ended && isAdmin.value && listed?.request && !listed.request.masked && <button type="button" onClick={() => retry([id], "1 task")}>Retry</button>}
        {ended && may("submit") && task.task && listed?.request && !listed.request.masked && (
          <button type="button" onClick={() => edit(task.task!, queue ?? "", cut(sourceOf(listed), "request")!, ["args", "kwargs"])}>Correct and submit…</button>
        )}
        {!ended && may("submit") && (untracked || task.state === "PENDING") && <button type="button" class="danger" onClick={() => revoke(task)}>Revoke</button>}
        {!ended && may("submit") && task.state !== "PENDING" && <button type="button" class="danger" onClick={() => terminate(task)}>Terminate</button>}
      </span>
    }>
      <p class="task-head"><State state={task.state} /> <span class="mono break">{id}</span></p>
      {untracked && <p class="notice">{whyUntracked()}{data.history && " The timeline has what workers said of it."}</p>}
      <Bar progress={ended ? undefined : task.progress} />
      <dl class="facts">
        <Fact name="Accepted">{task.accepted_at ? <Ago at={task.accepted_at} /> : "–"}</Fact>
        <Fact name="Started">{task.started_at ? <Ago at={task.started_at} /> : "–"}</Fact>
        <Fact name={ended ? "Finished" : "Runs for"}>{ended ? <Ago at={task.finished_at} /> : <Runtime task={task} />}</Fact>
        {ended && <Fact name="Took"><Runtime task={task} /></Fact>}
        {ended && task.accepted_at && task.finished_at && <Fact name="In all">{duration((Date.parse(task.finished_at) - Date.parse(task.accepted_at)) / 1000)}</Fact>}
        <Fact name="Attempts">{(numberOf(task.retries) ?? 0) + 1}</Fact>
        {queue && <Fact name="Queue"><a href={to(["queues", queue])}>{queue}</a></Fact>}
        {task.worker && <Fact name="Worker"><a href={to(["tasks"], { worker: task.worker })}>{task.worker}</a></Fact>}
        {task.trace_id && <Fact name="Trace"><Trace id={task.trace_id} /></Fact>}
        {task.retried_from && <Fact name="Retry of"><TaskLink id={task.retried_from} /></Fact>}
      </dl>
      {task.error && (
        <>
          <h3>Error</h3>
          <p class="error-line"><b>{brief(task.error.type, 200)}</b> {brief(task.error.message, 2000)}</p>
          {task.error.message.length > 2000 && <Code label="Message" value={task.error.message} />}
          {task.error.traceback && <Code label="Traceback" value={task.error.traceback} atEnd />}
          {failure && <p><a href={to(["failures", failure])}>All failures of this kind</a></p>}
        </>
      )}
      {"result" in task && <><h3>Result</h3><Json label="Result" value={task.result} /></>}
      {task.truncated && <p class="quiet">The result is too long to be pushed. <button type="button" class="plain" onClick={again}>Load it</button></p>}
      {given.length > 0 && (
        <>
          <h3>Arguments</h3>
          <dl class="arguments">
            {given.map(([name, value]) => <div key={name}><dt>{name}</dt><dd><Json label={`Argument ${name}`} value={value} /></dd></div>)}
          </dl>
        </>
      )}
      {data.history && !given.length && <p class="quiet small">Its arguments were not kept, or it has none (<code>HISTORY_ARGUMENTS</code>).</p>}
      <Lines id={id} ended={ended} />
      <h3>Timeline</h3>
      <Changes {...timeline} />
      {data.history && <Canvas root={root ?? id} current={id} />}
    </Section>
  );
}
