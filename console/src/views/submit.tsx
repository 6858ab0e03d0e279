// Submit any announced task, by a form made of its schema.
import { useEffect, useRef, useState } from "preact/hooks";
import { may, post, Refusal, token, words, Written } from "../api";
import { draft, type Draft } from "../draft";
import { argumentsOf, choicesOf, fieldsOf, kindOf, NUMBER, object, type Field as FieldOf, type Kind } from "../fields";
import { brief } from "../format";
import { json, parse } from "../json";
import { useTask } from "../live";
import { Bar, Empty, Loading, Section, State, TaskLink, Trouble, whyUntracked } from "../parts/bits";
import { tell } from "../parts/dialog";
import { useResource } from "../resource";
import { place, setQuery } from "../router";
import { type CatalogTask, type Receipt, type Schema, type Task, UNTRACKED } from "../types";

function typeOf(schema: Schema): string {
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return "one of these";
  if (schema.type === "array" && schema.items) return `list of ${typeOf(schema.items)}`;
  return [schema.type ?? "any JSON"].flat().join(" or ");
}

function inputOf(kind: "text" | "number", step: 1 | "any" = "any"): object {
  return kind === "text" ? { type: "text" } : { type: "number", step };
}

/** As a number where it begins as one: what was sent may be another thing. */
function numberOf({ text }: FieldOf, kind: Kind): object {
  if (text && !NUMBER.test(text)) return inputOf("text");
  return inputOf("number", kind === "integer" && Number.isInteger(Number(text)) ? 1 : "any");
}

const MOST_LINES = 8;

function Field({ of, value, set }: { of: FieldOf; value: string; set: (text: string) => void }) {
  const { name, schema, before, text } = of;
  const { kind } = kindOf(schema);
  const id = `field-${name}`;
  const hint = `${id}-hint`;
  const required = of.required && before === undefined;
  const shared = { id, name, value, required, "aria-describedby": hint };
  const long = {
    ...shared, spellcheck: false,
    onInput: (event: { currentTarget: HTMLTextAreaElement }) => set(event.currentTarget.value),
  };
  return (
    <div class="field">
      <label for={id}>{name}{of.required && <span class="quiet"> *</span>}</label>
      {kind === "flag" || kind === "choice" ? (
        <select {...shared} onChange={(event) => set(event.currentTarget.value)}>
          {(!required || kind === "choice" || !text) && <option value="">{of.required ? "Choose…" : "left out"}</option>}
          {choicesOf(of).map((one) => <option key={one}>{one}</option>)}
        </select>
      ) : kind === "json" ? (
        <textarea {...long} class="mono" rows={3} placeholder="[1, 2]" />
      ) : kind === "text" ? (
        <textarea {...long} required={false} rows={Math.min(MOST_LINES, text.split("\n").length)}
          placeholder={before === "null" ? "null" : ""} />
      ) : (
        <input {...shared} {...numberOf(of, kind)} placeholder={before === "null" ? "null" : ""}
          onInput={(event) => set(event.currentTarget.value)} />
      )}
      <small id={hint} class="quiet">{typeOf(schema)}{schema.description ? ` – ${schema.description}` : ""}</small>
    </div>
  );
}

/** A docstring: its first paragraph, and the rest on demand. */
function Doc({ text }: { text: string }) {
  const [first = "", ...more] = text.split("\n\n");
  const flow = (words: string) => words.replace(/\n(?! )/g, " ");
  return (
    <>
      <p class="quiet doc">{flow(first)}</p>
      {more.length > 0 && <details class="more-doc"><summary>More</summary>{more.map((one) => <p class="quiet doc" key={one}>{flow(one)}</p>)}</details>}
    </>
  );
}

const MOST_TASKS = 300;

interface Sent { receipt: Receipt; at: number }
const OPTIONS = ["queue", "priority", "countdown", "expires"] as const;

/** Submit under a key; without one where Redis, which keeps keys, is away: nothing is published then. */
async function send(text: string, key: string, repeated: boolean): Promise<Receipt> {
  try {
    return await post<Receipt>("/v1/tasks", new Written(text), { key });
  } catch (error) {
    if (repeated || !(error instanceof Refusal) || error.code !== "state-unavailable") throw error;
    return post<Receipt>("/v1/tasks", new Written(text));
  }
}

function Form({ task, from, sent }: { task: CatalogTask; from: Draft | null; sent: (receipt: Receipt) => void }) {
  const [fields] = useState(() => fieldsOf(task, from));
  const [texts, setTexts] = useState<Record<string, string>>(() => Object.fromEntries((fields ?? []).map((one) => [one.name, one.text])));
  const [given, setGiven] = useState({ args: `[${from?.args.join(", ") ?? ""}]`, kwargs: object(from?.kwargs ?? []) });
  const [options, setOptions] = useState<Record<string, string>>(() =>
    (from && !task.queues.includes(from.queue) ? { queue: from.queue } : {}));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  /** What was submitted and not accepted yet: the same once more is one task all the same. */
  const unanswered = useRef({ text: "", key: "" });
  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    setProblem("");
    try {
      const { args, kwargs } = fields ? argumentsOf(task, fields, texts, from) : given;
      parse(args);
      parse(kwargs);
      const chosen = Object.fromEntries(OPTIONS.filter((name) => options[name]).map((name) =>
        [name, name === "queue" ? options[name] : Number(options[name])]));
      const body = { task: json(task.name), args, kwargs, ...(Object.keys(chosen).length ? { options: json(chosen) } : {}) };
      const text = object(Object.entries(body));
      const repeated = unanswered.current.text === text;
      if (!repeated) unanswered.current = { text, key: token() };
      setBusy(true);
      sent(await send(text, unanswered.current.key, repeated));
      unanswered.current = { text: "", key: "" };
    } catch (error) {
      setProblem(error instanceof SyntaxError ? "The arguments are no JSON" : error instanceof Error && error.constructor === Error ? error.message : words(error));
    }
    setBusy(false);
  }
  return (
    <form id="submit-form" class="card" onSubmit={submit}>
      <h3>{task.name}</h3>
      {task.doc && <Doc text={task.doc} />}
      {from && <p class="notice">With the arguments of a task that was sent before: correct them. It is submitted as a new task.</p>}
      {fields?.map((one) => (
        <Field key={one.name} of={one} value={texts[one.name] ?? ""} set={(text) => setTexts({ ...texts, [one.name]: text })} />
      ))}
      {!fields && (["args", "kwargs"] as const).map((name) => (
        <div class="field" key={name}>
          <label for={`field-${name}`}>{name === "args" ? "Arguments" : "Keyword arguments"}</label>
          <textarea id={`field-${name}`} class="mono" rows={name === "args" ? 2 : 4} value={given[name]} spellcheck={false}
            onInput={(event) => setGiven({ ...given, [name]: event.currentTarget.value })} />
          <small class="quiet">{name === "args" ? "JSON list." : "JSON object."} {task.schema ? "Not each of them has a field by its name." : "No live worker announces the arguments of this task."}</small>
        </div>
      ))}
      <details open={!!options["queue"] && !!from}>
        <summary>Options</summary>
        <div class="options">
          {OPTIONS.map((name) => (
            <div class="field" key={name}>
              <label for={`option-${name}`}>{name}</label>
              <input id={`option-${name}`} {...inputOf(name === "queue" ? "text" : "number")} value={options[name] ?? ""}
                placeholder={name === "queue" ? task.queues.join(", ") : name === "priority" ? "0–9" : "seconds"}
                onInput={(event) => setOptions({ ...options, [name]: event.currentTarget.value })} />
            </div>
          ))}
        </div>
      </details>
      {problem && <p id="problem" class="notice bad" role="alert">{problem}</p>}
      <footer>
        <span class="quiet small">{task.queues.length ? `to ${task.queues.join(", ")}` : "by its route"} · {task.workers.length ? `${task.workers.length} live` : "no live worker"}</span>
        <button class="primary" disabled={busy}>{busy ? "Submitting…" : "Submit 1 task"}</button>
      </footer>
    </form>
  );
}

function SentRow({ receipt }: { receipt: Receipt }) {
  const task: Task = useTask(receipt.id, { id: receipt.id, task: receipt.task, state: receipt.tracked ? receipt.state ?? "PENDING" : UNTRACKED })!;
  return (
    <li class="sent" data-state={task.state} id={receipt.id}>
      <State state={task.state} /> <b>{receipt.task}</b> <TaskLink id={receipt.id} />
      <Bar progress={task.progress} />
      {!receipt.tracked && <span class="quiet">{whyUntracked(receipt.queues)}</span>}
      {task.error && <span class="bad-text break">{brief(`${task.error.type}: ${task.error.message}`)}</span>}
      {"result" in task && <code class="clip">{brief(json(task.result))}</code>}
    </li>
  );
}

export function Submit() {
  const found = useResource<{ tasks: CatalogTask[] }>("/v1/catalog", 15_000);
  const [sent, setSent] = useState<Sent[]>([]);
  useEffect(() => () => void (draft.value = null), []);
  const [search, setSearch] = useState("");
  const tasks = found.data.value?.tasks;
  const wanted = place.value.query.get("task");
  const shown = tasks?.filter((one) => one.name.includes(search));
  const chosen: CatalogTask | null = tasks?.find((one) => one.name === wanted) ?? (wanted ? { name: wanted, workers: [], queues: [] } : null);
  return (
    <Section title="Submit a task" id="submit">
      {!may("submit") && <p class="notice">This key lacks the scope <code>submit</code>: the forms can be read, and submits will be refused.</p>}
      {!tasks ? (found.problem.value ? <Trouble problem={found.problem.value} what="the catalog" /> : <Loading />) : (
        <div class="split">
          <div class="picker">
            <input type="search" aria-label="Find a task" placeholder={`Find one of ${tasks.length} tasks`} value={search}
              onInput={(event) => setSearch(event.currentTarget.value)} />
            <ul>
              {shown!.slice(0, MOST_TASKS).map((one) => (
                <li key={one.name}>
                  <button type="button" {...(one === chosen ? { "aria-current": "true" as const } : {})} onClick={() => setQuery({ task: one.name })}>
                    <b>{one.name}</b>
                    <small>{one.workers.length ? one.queues.join(", ") : "no live worker"}</small>
                  </button>
                </li>
              ))}
              {shown!.length > MOST_TASKS && <li class="quiet small">{shown!.length - MOST_TASKS} more: search by name</li>}
              {search && !tasks.some((one) => one.name === search) && (
                <li><button type="button" onClick={() => setQuery({ task: search })}><b>{search}</b><small>by its name, unchecked</small></button></li>
              )}
            </ul>
          </div>
          <div>
            {chosen ? <Form key={chosen.name} task={chosen} from={draft.value?.task === chosen.name ? draft.value : null} sent={(receipt) => {
              setSent([{ receipt, at: Date.now() }, ...sent]);
              tell(`Submitted ${receipt.task}`);
            }} /> : <Empty>Choose a task.</Empty>}
            {sent.length > 0 && (
              <>
                <h3>Submitted here</h3>
                <ul class="sent-list" id="sent">{sent.map((one) => <SentRow key={one.receipt.id} receipt={one.receipt} />)}</ul>
              </>
            )}
          </div>
        </div>
      )}
    </Section>
  );
}
