// What the form of Submit begins with: the arguments of a task that is to be sent once more, corrected.
import { signal } from "@preact/signals";
import { go, to } from "./router";

export interface Draft { task: string; args: unknown[]; kwargs: Record<string, unknown>; queue: string }

/** Kept in the page, not in the address: arguments may be long, and nobody's business. */
export const draft = signal<Draft | null>(null);

/** Open the form with these arguments in it. */
export function edit(one: Draft): void {
  draft.value = one;
  go(to(["submit"], { task: one.task }));
}

/** The arguments in the body of a task message, where it is one. */
export function argumentsOf(body: unknown): Pick<Draft, "args" | "kwargs"> | null {
  if (!Array.isArray(body) || body.length !== 3) return null;
  const [args, kwargs] = body as [unknown, unknown];
  const named = typeof kwargs === "object" && kwargs !== null && !Array.isArray(kwargs);
  return Array.isArray(args) && named ? { args, kwargs: kwargs as Record<string, unknown> } : null;
}
