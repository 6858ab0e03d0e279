// Small things that every view uses.
import type { ComponentChildren } from "preact";
import { computed, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Refusal, words } from "../api";
import { brief, bytes, duration, moment, NONE, now, partOf, short, shortId } from "../format";
import { json, numberOf } from "../json";
import { to } from "../router";
import type { Progress, Task } from "../types";

export function State({ state }: { state: string }) {
  return <span class={`state state-${state.toLowerCase().replace(" ", "-")}`}><i aria-hidden="true" />{state}</span>;
}

/** Why a task has no state. */
export function whyUntracked(queues?: string[]): string {
  const ignored = "its submit said ignore_result";
  const several = queues ? `${queues.length} queues took it` : `several queues took it, or ${ignored}`;
  return `Not tracked: ${queues?.length === 1 ? ignored : several}. It has no single state and no result.`;
}

/** A text that goes on with the time: where it stands changes, and nothing around it is drawn again. */
function useClock(at: string, say: (seconds: number) => string): ReadonlySignal<string> {
  return useMemo(() => {
    const then = Date.parse(at);
    return computed(() => say((now.value - then) / 1000));
  }, [at]);
}

const sayAgo = (seconds: number) => (seconds >= 0 ? `${short(seconds)} ago` : `in ${short(-seconds)}`);
const sayDue = (seconds: number) => (seconds >= 0 ? "due now" : `in ${short(-seconds)}`);

function Clock({ at, say }: { at: string; say: (seconds: number) => string }) {
  return <>{useClock(at, say)}</>;
}

export function Ago({ at, future = false }: { at: string | null | undefined; future?: boolean }) {
  if (!at) return <span class="quiet">{future ? "never" : NONE}</span>;
  return <time dateTime={at} title={moment(at)}><Clock key={at} at={at} say={future ? sayDue : sayAgo} /></time>;
}

export function Since({ at }: { at: string }) {
  return <time dateTime={at} title={moment(at)}><Clock key={at} at={at} say={short} /></time>;
}

/** How long a task has run, or did. */
export function Runtime({ task }: { task: Task }) {
  if (task.finished_at && task.started_at) {
    return <>{duration((Date.parse(task.finished_at) - Date.parse(task.started_at)) / 1000)}</>;
  }
  if (task.started_at && !task.finished_at) return <Clock key={task.started_at} at={task.started_at} say={short} />;
  return <>{duration(numberOf(task.runtime_s))}</>;
}

export function TaskLink({ id, children }: { id: string; children?: ComponentChildren }) {
  return <a class="mono" href={to(["tasks", id])} title={id}>{children ?? shortId(id)}</a>;
}

export function Bar({ progress }: { progress: Progress | undefined }) {
  const part = partOf(progress);
  if (part === undefined) {
    return progress?.message ? <span class="bar-words">{brief(progress.message)}</span> : null;
  }
  return (
    <span class="bar">
      <progress max={1} value={part} aria-label="progress" />
      <span class="bar-words">
        <b>{Math.floor(part * 100)} %</b> {brief(progress?.message ?? `${json(progress?.current ?? 0)} of ${json(progress?.total)}`)}
      </span>
    </span>
  );
}

/** Whether an element is in sight, or nearly. */
export function useInSight(place: { current: Element | null }): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const watcher = new IntersectionObserver((found) => setSeen(found.at(-1)!.isIntersecting), { rootMargin: "200px" });
    watcher.observe(place.current!);
    return () => watcher.disconnect();
  }, []);
  return seen;
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Loading() {
  return <p class="empty" aria-busy="true">Loading…</p>;
}

/** Why there is nothing to show, and what to do. */
export function Trouble({ problem, what }: { problem: unknown; what: string }) {
  const code = problem instanceof Refusal ? problem.code : "";
  if (code === "history-unavailable" || (code === "not-found" && what === "history") || code === "method-not-allowed") {
    return (
      <div class="notice" role="status">
        <b>History is not available.</b> Past tasks and failures cannot be shown; submits, queues and workers go
        on. This page asks again by itself.
        {code === "history-unavailable" && <small>{words(problem)}</small>}
      </div>
    );
  }
  return <div class="notice bad" role="alert"><b>Cannot show {what}.</b> {brief(words(problem), 2000)}</div>;
}

/** Says that what is shown could not be asked for again. */
export function Stale({ of }: { of: { data: { value: unknown }; problem: { value: unknown } } }) {
  if (!of.data.value || !of.problem.value) return null;
  return <p class="notice warn" role="status">This is as it was: {words(of.problem.value)}</p>;
}

const MOST_SHOWN = 50_000;

/** A text in full, and of a long one its begin (or its end) until all of it is wanted. */
export function Code({ value, label, atEnd = false }: { value: string; label: string; atEnd?: boolean }) {
  const [copied, setCopied] = useState(false);
  const [whole, setWhole] = useState(false);
  const cut = !whole && value.length > MOST_SHOWN;
  const shown = !cut ? value : atEnd ? value.slice(-MOST_SHOWN) : value.slice(0, MOST_SHOWN);
  const text = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (atEnd && text.current) text.current.scrollTop = text.current.scrollHeight;
  }, [value, atEnd]);
  return (
    <div class="code">
      <pre ref={text} tabIndex={0} aria-label={label}>{shown}</pre>
      {cut && <p class="quiet small">{atEnd ? "The end" : "The begin"} of {bytes(value.length)}. <button type="button" class="plain" onClick={() => setWhole(true)}>Show all of it</button></p>}
      {navigator.clipboard && (
        <button type="button" class="plain copy" onClick={() => {
          void navigator.clipboard.writeText(value).then(() => setCopied(true));
          setTimeout(() => setCopied(false), 1500);
        }}>{copied ? "Copied" : "Copy"}</button>
      )}
    </div>
  );
}

export function Json({ value, label }: { value: unknown; label: string }) {
  return <Code value={json(value, 2)} label={label} />;
}

export function Section({ title, id, aside, children }: {
  title: string; id: string; aside?: ComponentChildren; children: ComponentChildren;
}) {
  return (
    <section class="section" aria-labelledby={`${id}-title`} id={id}>
      <header>
        <h2 id={`${id}-title`}>{title}</h2>
        {aside && <div class="aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <div class="fact"><dt>{name}</dt><dd>{children}</dd></div>;
}
