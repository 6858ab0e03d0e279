// Every change asks first, says how many, and says what came of it.
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { get, path, Refusal, token, words } from "../api";
import { brief, count } from "../format";
import { reloadAll } from "../resource";
import type { LongOperation } from "../types";

export interface Question {
  title: string;
  body: ComponentChildren;
  /** Asks the gateway how many it would be. */
  count?: () => Promise<{ number: number; words: ComponentChildren }>;
  action: string | ((number: number) => string);
  danger?: boolean;
  /** Does it, with a key of this dialog, see `Options.key`; its words are told, with an address that they lead to. */
  run: (key: string) => Promise<string | [string, string]>;
}

const asked = signal<Question | null>(null);
const told = signal<{ id: number; text: string; href: string }[]>([]);
const under = signal<{ title: string; state: LongOperation }[]>([]);
let lastId = 0;
const POLL_MS = 1000;
const MOST_POLL_MS = 8000;

export function ask(question: Question): void {
  asked.value = question;
}

export function tell(text: string, href = ""): void {
  const id = ++lastId;
  told.value = [...told.value.slice(-3), { id, text: brief(text), href }];
  setTimeout(() => (told.value = told.value.filter((one) => one.id !== id)), 6000);
}

/** Whether an answer is the last word on an operation: it is not known, or this key may not see it. */
const isFinal = (error: unknown) => error instanceof Refusal && [400, 403, 404, 410].includes(error.status);

/** Follow a long operation to its end, in the corner; a gateway that does not answer is asked again. */
export async function follow(title: string, id: string): Promise<void> {
  for (let waitMs = POLL_MS; ; await new Promise((resolve) => setTimeout(resolve, waitMs))) {
    let state: LongOperation;
    const others = () => under.value.filter((one) => one.state.operation !== id);
    try {
      state = await get<LongOperation>(path`/v1/operations/${id}`);
      waitMs = POLL_MS;
    } catch (error) {
      if (isFinal(error)) {
        under.value = others();
        tell(`${title}: ${words(error)}`);
        return;
      }
      waitMs = Math.min(2 * waitMs, MOST_POLL_MS);
      continue;
    }
    const ended = state.state !== "running" && state.state !== "pending";
    under.value = ended ? others() : [...others(), { title, state: { ...state, operation: id } }];
    if (ended) {
      const why = Object.entries(state.refusals ?? {}).map(([code, times]) => `${count(times)} ${code}`).join(", ");
      const failed = state.failed ? `, ${count(state.failed)} failed${why ? ` (${why})` : ""}` : "";
      tell(`${title}: ${count(state.done)} of ${count(state.of)} done${failed}`);
      reloadAll();
      return;
    }
  }
}

export function Dialogs() {
  const question = asked.value;
  return (
    <>
      {question && <Confirm key={question.title} question={question} />}
      <div class="toasts" role="status" aria-live="polite">
        {told.value.map((one) => <p key={one.id}>{one.href ? <a href={one.href}>{one.text}</a> : one.text}</p>)}
        {under.value.map(({ title, state }) => (
          <p key={state.operation}>
            {title}<progress max={state.of || 1} value={state.done + state.failed} aria-label={title} />
            {count(state.done)} of {count(state.of)}
          </p>
        ))}
      </div>
    </>
  );
}

function Confirm({ question }: { question: Question }) {
  const box = useRef<HTMLDialogElement>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const [key] = useState(token);
  const [counted, setCounted] = useState<{ number: number; words: ComponentChildren } | null>(null);
  const waiting = question.count !== undefined && counted === null;
  // At once, not after the next frame: a key pressed meanwhile must not reach the page behind it.
  useLayoutEffect(() => {
    box.current?.showModal();
    question.count?.().then(setCounted, (error) => setProblem(words(error)));
  }, [question]);
  const done = () => (asked.value = null);
  async function run(event: Event): Promise<void> {
    event.preventDefault();
    setBusy(true);
    setProblem("");
    try {
      tell(...[await question.run(key)].flat() as [string, string?]);
      done();
      reloadAll();
    } catch (error) {
      setProblem(words(error));
      setBusy(false);
    }
  }
  return (
    <dialog ref={box} onClose={done} aria-labelledby="dialog-title">
      <form onSubmit={run}>
        <h2 id="dialog-title">{question.title}</h2>
        <div class="dialog-body">
          {question.body}
          {question.count && <p>{waiting ? (problem ? "" : "Counting…") : counted?.words}</p>}
        </div>
        {problem && <p class="notice bad" role="alert">{brief(problem, 2000)}</p>}
        <footer>
          <button type="button" class="plain" onClick={() => box.current?.close()}>Cancel</button>
          <button class={question.danger ? "danger" : "primary"} disabled={busy || waiting || counted?.number === 0}>
            {busy ? "Working…" : typeof question.action === "string" ? question.action : question.action(counted?.number ?? 0)}
          </button>
        </footer>
      </form>
    </dialog>
  );
}

