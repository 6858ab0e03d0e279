// Submit any announced task, by a form made of its schema.
import { useEffect, useMemo, useState } from "preact/hooks";
import { may, post, words } from "../api";
import { draft, type Draft } from "../draft";
import { brief } from "../format";
import { json, parse } from "../json";
import { useTask } from "../live";
import { Bar, Empty, Loading, Section, State, TaskLink, Trouble } from "../parts/bits";
import { tell } from "../parts/dialog";
import { useResource } from "../resource";
import { place, setQuery } from "../router";
import type { CatalogTask, Receipt, Schema, Task } from "../types";

type Kind = "integer" | "number" | "text" | "flag" | "choice" | "json";

/** Which field a schema wants, and whether it may be left null. */
export function kindOf(schema: Schema): { kind: Kind; nullable: boolean; schema: Schema } {
  if (schema.anyOf) {
    const others = schema.anyOf.filter((one) => one.type !== "null");
    const nullable = others.length < schema.anyOf.length;
    if (others.length === 1) return { ...kindOf(others[0]!), nullable };
    return { kind: "json", nullable, schema };
  }
  if (schema.enum) return { kind: "choice", nullable: false, schema };
  switch (schema.type) {
    case "integer": return { kind: "integer", nullable: false, schema };
    case "number": return { kind: "number", nullable: false, schema };
    case "string": return { kind: "text", nullable: false, schema };
    case "boolean": return { kind: "flag", nullable: false, schema };
    default: return { kind: "json", nullable: false, schema };
  }
}

/** The value of a field's text; throws where it is none. undefined: left out. */
function valueOf(name: string, schema: Schema, text: string, required: boolean): unknown {
  const { kind, nullable, schema: inner } = kindOf(schema);
  if (kind === "text") {
    if (text === "" && !required) return undefined;
    return text;
  }
  if (text.trim() === "") {
    if (!required) return undefined;
    if (nullable) return null;
    throw new Error(`${name} is required`);
  }
  if (kind === "flag") return text === "true";
  if (kind === "choice") return inner.enum!.find((one) => String(one) === text);
  if (kind === "integer" || kind === "number") {
    const value = Number(text);
    if (Number.isNaN(value)) throw new Error(`${name} is no number`);
    return Number.isSafeInteger(value) ? value : parse(text.trim().replace(/^\+/, ""));
  }
  try {
    return parse(text);
  } catch {
    throw new Error(`${name} is no JSON: texts stand in quotes`);
  }
}

function typeOf(schema: Schema): string {
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return "one of these";
  if (schema.type === "array" && schema.items) return `list of ${typeOf(schema.items)}`;
  return [schema.type ?? "any JSON"].flat().join(" or ");
}

function initial(schema: Schema): string {
  if (schema.default === undefined || schema.default === null) return "";
  return typeof schema.default === "string" ? schema.default : json(schema.default);
}

function inputOf(kind: Kind): object {
  return kind === "text" ? { type: "text" } : { type: "number", step: kind === "integer" ? 1 : "any" };
}

function Field({ name, schema, required, value, set }: {
  name: string; schema: Schema; required: boolean; value: string; set: (text: string) => void;
}) {
  const { kind, schema: inner } = kindOf(schema);
  const id = `field-${name}`;
  const hint = `${id}-hint`;
  const shared = { id, name, "aria-describedby": hint };
  return (
    <div class="field">
      <label for={id}>{name}{required && <span class="quiet"> *</span>}</label>
      {kind === "flag" || kind === "choice" ? (
        <select {...shared} value={value} required={required} onChange={(event) => set(event.currentTarget.value)}>
          {(!required || kind === "choice") && <option value="">{required ? "Choose…" : "left out"}</option>}
          {(kind === "flag" ? ["true", "false"] : inner.enum!.map(String)).map((one) => <option key={one}>{one}</option>)}
        </select>
      ) : kind === "json" ? (
        <textarea {...shared} class="mono" rows={3} value={value} placeholder="[1, 2]" spellcheck={false} required={required}
          onInput={(event) => set(event.currentTarget.value)} />
      ) : (
        <input {...shared} {...inputOf(kind === "text" || isNaN(Number(value)) ? "text" : kind)} value={value}
          required={required && kind !== "text"} onInput={(event) => set(event.currentTarget.value)} />
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

/** The text of a field for a value that was sent before. */
function textOf(schema: Schema, value: unknown): string {
  return typeof value === "string" && kindOf(schema).kind !== "json" ? value : json(value);
}

/** The arguments of a draft by their names; null: some have none, or are not of this task. */
function byName(fields: [string, Schema][], from: Draft): Record<string, unknown> | null {
  const named = new Map(fields);
  if (from.args.length > fields.length || Object.keys(from.kwargs).some((name) => !named.has(name))) return null;
  return { ...Object.fromEntries(from.args.map((value, i) => [fields[i]![0], value])), ...from.kwargs };
}

function Form({ task, from, sent }: { task: CatalogTask; from: Draft | null; sent: (receipt: Receipt) => void }) {
  const fields = useMemo(() => Object.entries(task.schema?.properties ?? {}), [task.name]);
  const required = new Set(task.schema?.required ?? []);
  const before = from && byName(fields, from);
  const raw = !task.schema || (from && !before);
  const [texts, setTexts] = useState<Record<string, string>>(() =>
    Object.fromEntries(fields.map(([name, schema]) =>
      [name, before ? (name in before ? textOf(schema, before[name]) : "")
        : initial(schema) || (kindOf(schema).kind === "flag" && required.has(name) ? "false" : "")])));
  const [given, setGiven] = useState({ args: json(from?.args ?? []), kwargs: json(from?.kwargs ?? {}) });
  const [options, setOptions] = useState<Record<string, string>>(() =>
    (from && !task.queues.includes(from.queue) ? { queue: from.queue } : {}));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    setProblem("");
    try {
      const pairs = raw ? [] : fields
        .map(([name, schema]) => [name, valueOf(name, schema, texts[name] ?? "", required.has(name))] as const)
        .filter(([, value]) => value !== undefined);
      const asked = raw ? { args: parse(given.args), kwargs: parse(given.kwargs) } : { kwargs: Object.fromEntries(pairs) };
      const chosen = Object.fromEntries(OPTIONS.filter((name) => options[name]).map((name) =>
        [name, name === "queue" ? options[name] : Number(options[name])]));
      setBusy(true);
      sent(await post<Receipt>("/v1/tasks", {
        task: task.name,
        ...asked,
        ...(Object.keys(chosen).length ? { options: chosen } : {}),
      }));
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
      {!raw && fields.map(([name, schema]) => (
        <Field key={name} name={name} schema={schema} required={required.has(name)} value={texts[name] ?? ""}
          set={(text) => setTexts({ ...texts, [name]: text })} />
      ))}
      {raw && (["args", "kwargs"] as const).map((name) => (
        <div class="field" key={name}>
          <label for={`field-${name}`}>{name === "args" ? "Arguments" : "Keyword arguments"}</label>
          <textarea id={`field-${name}`} class="mono" rows={name === "args" ? 2 : 4} value={given[name]} spellcheck={false}
            onInput={(event) => setGiven({ ...given, [name]: event.currentTarget.value })} />
          <small class="quiet">{name === "args" ? "JSON list." : "JSON object."} {task.schema ? "The task has no names for all of them." : "No live worker announces the arguments of this task."}</small>
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
  const task: Task = useTask(receipt.id, { id: receipt.id, task: receipt.task, state: receipt.state ?? "PENDING" })!;
  return (
    <li class="sent" data-state={task.state} id={receipt.id}>
      <State state={task.state} /> <b>{receipt.task}</b> <TaskLink id={receipt.id} />
      <Bar progress={task.progress} />
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
