// JSON as it was sent: whole numbers beyond 2^53, and depth that no screen holds.

/** Of V8 and others since 2023: what a number was in the text, and a value that is written as it was. */
interface Exact {
  parse(text: string, revive: (key: string, value: unknown, context?: { source?: string }) => unknown): unknown;
  rawJSON?: (text: string) => unknown;
  isRawJSON?: (value: unknown) => boolean;
}

const exact = JSON as unknown as Exact;
/** Only a text with such a number is read the slow way. */
const LONG = /\d{16}|\d[eE]\+?\d{3}/;
const MOST_DEEP = 100;

function asSent(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Math.abs(value) <= Number.MAX_SAFE_INTEGER) return value;
  return context?.source && exact.rawJSON ? exact.rawJSON(context.source) : value;
}

/** Parse JSON; a number that a double does not hold is kept as it is written. */
export function parse(text: string): unknown {
  return LONG.test(text) ? exact.parse(text, asSent) : JSON.parse(text);
}

/** A number to compute with, of one that is kept as it is written the nearest double; undefined: it is no number. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return exact.isRawJSON?.(value) ? Number((value as { rawJSON: string }).rawJSON) : undefined;
}

/** Whether there are more than so many levels, without recursion. */
function deep(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length; depth++) {
    if (depth > MOST_DEEP) return true;
    level = level.flatMap((one) => (one && typeof one === "object" ? Object.values(one) : []));
  }
  return false;
}

/** Write JSON; what is very deep in one line, since indents would be most of it. */
export function json(value: unknown, indent = 0): string {
  try {
    return JSON.stringify(value, null, indent && deep(value) ? 0 : indent) ?? "undefined";
  } catch {
    return "(deeper than this browser can write)";
  }
}

/** Where the value ends that begins at a place of a JSON text. */
function endOf(text: string, at: number): number {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    switch (text[i]) {
      case '"':
        while (++i < text.length && text[i] !== '"') if (text[i] === "\\") i++;
        if (depth === 0) return i + 1;
        break;
      case "[": case "{":
        depth++;
        break;
      case "]": case "}":
        if (--depth < 0) return i;
        if (depth === 0) return i + 1;
        break;
      case ",":
        if (depth === 0) return i;
    }
  }
  return text.length;
}

const BETWEEN = /[\s,]*/y;

/** The members of an array or object, by number or name, each as it is written. The text is JSON. */
export function members(text: string): [string, string][] {
  const found: [string, string][] = [];
  const start = text.search(/\S/);
  let at = start + 1;
  for (;;) {
    BETWEEN.lastIndex = at;
    at += BETWEEN.exec(text)![0].length;
    if (at >= text.length || text[at] === "]" || text[at] === "}") return found;
    let name = String(found.length);
    if (text[start] === "{") {
      const end = endOf(text, at);
      name = JSON.parse(text.slice(at, end)) as string;
      at = text.indexOf(":", end) + 1;
    }
    const end = endOf(text, at);
    found.push([name, text.slice(at, end).trim()]);
    at = end;
  }
}

/** A part of a JSON text as it is written: cut(text, "tasks", "0", "id"). */
export function cut(text: string, ...path: string[]): string | undefined {
  let found: string | undefined = text;
  for (const name of path) found = found && members(found).findLast(([one]) => one === name)?.[1];
  return found;
}
