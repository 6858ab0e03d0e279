// What the form of Submit begins with: the arguments of a task that is to be sent once more, corrected.
import { signal } from "@preact/signals";
import { cut, members } from "./json";
import { go, to } from "./router";

/** Each argument as JSON, as it was written: no number and no text is another one on the way. */
export interface Draft { task: string; args: string[]; kwargs: [string, string][]; queue: string }

/** Kept in the page, not in the address: arguments may be long, and nobody's business. */
export const draft = signal<Draft | null>(null);

/** Open the form with the arguments of a task: two members of a JSON text. */
export function edit(task: string, queue: string, text: string, [args, kwargs]: [string, string]): void {
  draft.value = {
    task, queue,
    args: members(cut(text, args) ?? "[]").map(([, value]) => value),
    kwargs: members(cut(text, kwargs) ?? "{}"),
  };
  go(to(["submit"], { task }));
}

/** Whether the body of a message has the arguments of a task. */
export function isCall(body: unknown): boolean {
  if (!Array.isArray(body) || body.length !== 3) return false;
  const [args, kwargs] = body as [unknown, unknown];
  return Array.isArray(args) && typeof kwargs === "object" && kwargs !== null && !Array.isArray(kwargs);
}
