// Arguments between JSON and the fields of a form: what is not changed goes out as it came.
import type { Draft } from "./draft";
import { json, parse } from "./json";
import type { CatalogTask, Schema } from "./types";

export type Kind = "integer" | "number" | "text" | "flag" | "choice" | "json";

export interface Field {
  name: string;
  schema: Schema;
  required: boolean;
  /** The JSON that it was sent with before; undefined: it was not. */
  before: string | undefined;
  /** What the field shows at first. */
  text: string;
}

/** A number as JSON has it. */
export const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

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

/** What a field of several shows; with what it was sent before, whatever that is. */
export function choicesOf({ schema, text }: Field): string[] {
  const { kind, nullable, schema: inner } = kindOf(schema);
  const found = kind === "flag" ? ["true", "false"] : inner.enum!.map(String);
  return [...new Set([...found, ...(nullable ? ["null"] : []), ...(text ? [text] : [])])];
}

/** The text of a field for a value that was sent before. */
function textOf(schema: Schema, before: string): string {
  const { kind } = kindOf(schema);
  if (kind === "json") return before;
  const value = parse(before);
  if (typeof value === "string") return value;
  return value === null && kind !== "choice" && kind !== "flag" ? "" : before;
}

function initial(schema: Schema, required: boolean): string {
  if (schema.default === undefined || schema.default === null) return required && kindOf(schema).kind === "flag" ? "false" : "";
  return typeof schema.default === "string" ? schema.default : json(schema.default);
}

/** The arguments of a draft by their names; null: some have none, or are not of this task. */
function byName(task: CatalogTask, from: Draft): Map<string, string> | null {
  const places = task.positional ?? [];
  if (from.args.length > places.length) return null;
  const given = new Map(from.args.map((text, i) => [places[i]!, text]));
  for (const [name, text] of from.kwargs) {
    if (given.has(name) || !Object.hasOwn(task.schema?.properties ?? {}, name)) return null;
    given.set(name, text);
  }
  return given;
}

/** The fields of a form; null: not every argument has one. */
export function fieldsOf(task: CatalogTask, from: Draft | null): Field[] | null {
  const given = from ? byName(task, from) : new Map<string, string>();
  if (!task.schema || !given) return null;
  const needed = new Set(task.schema.required);
  return Object.entries(task.schema.properties ?? {}).map(([name, schema]) => {
    const [required, before] = [needed.has(name), given.get(name)];
    const text = before !== undefined ? textOf(schema, before) : from ? "" : initial(schema, required);
    return { name, schema, required, before, text };
  });
}

/** The JSON of a field's text; throws where it is none. undefined: left out. */
function jsonOf({ name, schema, required, before, text: first }: Field, text: string): string | undefined {
  if (before !== undefined && text === first) return before;
  const { kind, nullable, schema: inner } = kindOf(schema);
  if (kind === "text") {
    if (text === "" && first === "" && !required) return undefined;
    return JSON.stringify(first.includes("\r\n") ? text.replace(/\r?\n/g, "\r\n") : text);
  }
  const written = text.trim();
  if (written === "") {
    if (!required) return undefined;
    if (nullable) return "null";
    throw new Error(`${name} is required`);
  }
  if (kind === "choice" || kind === "flag") {
    const choice = kind === "choice" ? inner.enum!.find((one) => String(one) === text) : undefined;
    return choice === undefined ? written : JSON.stringify(choice);
  }
  if (kind === "integer" || kind === "number") {
    if (NUMBER.test(written)) return written;
    if (!Number.isFinite(Number(written))) throw new Error(`${name} is no number`);
    return String(Number(written));
  }
  try {
    parse(written);
  } catch {
    throw new Error(`${name} is no JSON: texts stand in quotes`);
  }
  return written;
}

/** An object of JSON, of members as they are written. */
export const object = (members: Iterable<[string, string]>): string =>
  `{${[...members].map(([name, text]) => `${JSON.stringify(name)}: ${text}`).join(", ")}}`;

/** The arguments as JSON: by place what came so, all else by name; throws where a field has none. */
export function argumentsOf(task: CatalogTask, fields: Field[], texts: Record<string, string>, from: Draft | null): { args: string; kwargs: string } {
  const named = new Map<string, string>();
  for (const one of fields) {
    const value = jsonOf(one, texts[one.name] ?? "");
    if (value !== undefined) named.set(one.name, value);
  }
  const placed: string[] = [];
  for (const name of (task.positional ?? []).slice(0, from?.args.length ?? 0)) {
    const value = named.get(name);
    if (value === undefined) break; // Without it no other has its place: they go by name.
    placed.push(value);
    named.delete(name);
  }
  return { args: `[${placed.join(", ")}]`, kwargs: object(named) };
}
