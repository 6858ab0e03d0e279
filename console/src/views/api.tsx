// The API tried out: any operation of its description, with the key of this tab.
import { useMemo, useState } from "preact/hooks";
import { apiKey, CHANGE_TIMEOUT_MS, get, Silence, words as said } from "../api";
import { json, parse } from "../json";
import { Code, Empty, Loading, Section, Trouble } from "../parts/bits";
import { ask } from "../parts/dialog";
import { useOnce } from "../resource";
import { encoded, to } from "../router";

interface Parameter { name: string; in: "path" | "query" | "header"; required?: boolean; description?: string }
interface Described {
  operationId: string;
  summary?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { example?: unknown }> };
}
interface Operation extends Described { method: string; path: string }
interface Answer { status: string; type: string; text: string; ms: number }

const MOST_SHOWN = 200_000;

function operationsOf(paths: Record<string, Record<string, Described>>): Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]) => ({ ...one, method: method.toUpperCase(), path })));
}

async function send(operation: Operation, values: Record<string, string>, kind: string, body: string): Promise<Answer> {
  let path = operation.path;
  const query = new URLSearchParams();
  const headers: Record<string, string> = {};
  for (const one of operation.parameters ?? []) {
    const value = values[one.name] ?? "";
    if (one.in === "path") path = path.replace(`{${one.name}}`, encoded(value));
    else if (value && one.in === "query") query.set(one.name, value);
    else if (value) headers[one.name] = value;
  }
  if (apiKey.peek()) headers["Authorization"] = `Bearer ${apiKey.peek()}`;
  if (kind && body) headers["Content-Type"] = kind;
  const started = performance.now();
  const response = await fetch(`${path}${query.size ? `?${query}` : ""}`, {
    method: operation.method, headers, body: kind && body ? body : null, signal: AbortSignal.timeout(CHANGE_TIMEOUT_MS),
  });
  const text = await response.text();
  const type = response.headers.get("Content-Type") ?? "";
  let shown = text.slice(0, MOST_SHOWN);
  if (/json/.test(type) && text.length < MOST_SHOWN) {
    try {
      shown = json(parse(text), 2);
    } catch {
      // Several lines of JSON stay as they are.
    }
  }
  return { status: `${response.status} ${response.statusText}`.trim(), type, text: shown, ms: Math.round(performance.now() - started) };
}

function Try({ operation }: { operation: Operation }) {
  const kinds = Object.keys(operation.requestBody?.content ?? {});
  const exampleOf = (kind: string) => {
    const example = operation.requestBody?.content[kind]?.example;
    return example === undefined ? "" : typeof example === "string" ? example : json(example, 2);
  };
  const [values, setValues] = useState<Record<string, string>>({});
  const [kind, setKind] = useState(kinds[0] ?? "");
  const [body, setBody] = useState(exampleOf(kinds[0] ?? ""));
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [problem, setProblem] = useState("");
  async function run(): Promise<string> {
    setProblem("");
    try {
      const found = await send(operation, values, kind, body);
      setAnswer(found);
      return found.status;
    } catch {
      setAnswer(null);
      setProblem(said(new Silence(operation.method !== "GET")));
      return "No answer";
    }
  }
  return (
    <form class="card" id="try" onSubmit={(event) => {
      event.preventDefault();
      if (operation.method === "GET") void run();
      else ask({ title: `Send ${operation.method} ${operation.path}?`, body: <p>One request, with the key of this tab.</p>, action: "Send 1 request", run });
    }}>
      <h3><span class="method">{operation.method}</span> <code class="break">{operation.path}</code></h3>
      <p class="quiet">{operation.summary}</p>
      {operation.parameters?.map((one) => (
        <div class="field" key={one.name}>
          <label for={`try-${one.name}`}>{one.name}{one.in === "path" && <span class="quiet"> *</span>}</label>
          <input id={`try-${one.name}`} required={one.in === "path"} value={values[one.name] ?? ""} spellcheck={false}
            onInput={(event) => setValues({ ...values, [one.name]: event.currentTarget.value })} />
          <small class="quiet">{one.in}{one.description ? ` – ${one.description}` : ""}</small>
        </div>
      ))}
      {kinds.length > 0 && (
        <div class="field">
          <label for="try-body">Body</label>
          {kinds.length > 1 && (
            <select aria-label="Media type" value={kind} onChange={(event) => {
              setKind(event.currentTarget.value);
              setBody(exampleOf(event.currentTarget.value));
            }}>{kinds.map((one) => <option key={one}>{one}</option>)}</select>
          )}
          <textarea id="try-body" class="mono" rows={Math.min(16, body.split("\n").length + 1)} value={body} spellcheck={false}
            onInput={(event) => setBody(event.currentTarget.value)} />
        </div>
      )}
      <footer><button class="primary">Send{operation.method === "GET" ? "" : "…"}</button></footer>
      {problem && <p class="notice bad" role="alert">{problem}</p>}
      {answer && (
        <div id="answer" role="status">
          <h4>{answer.status} <span class="quiet">{answer.ms} ms{answer.type && `, ${answer.type.split(";")[0]}`}</span></h4>
          {answer.text && <Code label="Answer" value={answer.text} />}
        </div>
      )}
    </form>
  );
}

export function Api({ id }: { id: string }) {
  const { data, problem } = useOnce(() => get<{ paths: Record<string, Record<string, Described>> }>("/openapi.json"), []);
  const [search, setSearch] = useState("");
  const operations = useMemo(() => (data ? operationsOf(data.paths).filter((one) => !/stream$/.test(one.path)) : []), [data]);
  if (!data) return <Section title="API" id="api">{problem ? <Trouble problem={problem} what="the API" /> : <Loading />}</Section>;
  const chosen = operations.find((one) => one.operationId === id);
  const words = search.toLowerCase();
  const shown = operations.filter((one) => `${one.method} ${one.path} ${one.summary}`.toLowerCase().includes(words));
  return (
    <Section title="API" id="api" aside={<a href="/docs">Reference</a>}>
      <div class="split">
        <div class="picker">
          <input type="search" aria-label="Find an operation" placeholder={`Find one of ${operations.length} operations`} value={search}
            onInput={(event) => setSearch(event.currentTarget.value)} />
          <ul>
            {shown.map((one) => (
              <li key={one.operationId}>
                <a class="pick" href={to(["api", one.operationId])} {...(one === chosen ? { "aria-current": "true" as const } : {})}>
                  <b><span class="method">{one.method}</span> {one.path.replace("/v1", "")}</b>
                  <small>{one.summary}</small>
                </a>
              </li>
            ))}
          </ul>
        </div>
        {chosen ? <Try key={chosen.operationId} operation={chosen} /> : <Empty>Choose an operation.</Empty>}
      </div>
    </Section>
  );
}
