// The API: one way to call it, the key, and whether it is within reach.
import { computed, signal } from "@preact/signals";
import { parse } from "./json";
import { encoded } from "./router";
import type { KeyShown } from "./types";

const KEPT = "penstock-key";
const TIMEOUT_MS = 20_000;
/** A gateway that has not read its keys again yet knows a new one soon: it is asked once more before the page says so. */
const KEY_AGAIN_MS = 2000;
/** Of a balancer that reaches no gateway. A gateway's own answers are JSON, these too. */
const NO_GATEWAY = [502, 503, 504];
/** Of all but GET: the gateway takes up to 60 s for some. */
export const CHANGE_TIMEOUT_MS = 65_000;

/** An answer that refuses, in the API's words. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly queued?: string,
    readonly errors: { at: string; detail: string }[] = [],
  ) {
    super(detail);
  }
}

/** No answer of a gateway: of a change it is not known whether it was done. */
export class Silence extends Error {
  constructor(readonly change: boolean) {
    super("no answer");
  }
}

/** The key: kept in this tab alone, until it is closed. */
export const apiKey = signal(sessionStorage.getItem(KEPT) ?? "");
/** Whether the gateway wants a key, or another one. */
export const keyWanted = signal(false);
/** What the key may do; null: not known yet. */
export const caller = signal<KeyShown | null>(null);
/** Since when requests fail for want of a gateway; null: they do not. */
export const outOfTouch = signal<number | null>(null);

/** Why history did not answer when it was asked last; empty: it did, null: it was not asked yet. */
export const historyAway = signal<string | null>(null);
const OF_HISTORY = /^\/v1\/(failures|tasks\?|tasks\/[^/?]+\/timeline)/;

export const isAdmin = computed(() => caller.value?.scopes.includes("admin") ?? false);

export function may(scope: string): boolean {
  return isAdmin.value || (caller.value?.scopes.includes(scope) ?? false);
}

export function useKey(value: string): void {
  sessionStorage.setItem(KEPT, value);
  keyWanted.value = false;
  caller.value = null;
  apiKey.value = value;
}

export function forgetKey(): void {
  sessionStorage.removeItem(KEPT);
  location.reload();
}

/** JSON that is sent as it is written. */
export class Written {
  constructor(readonly text: string) {}
}

/** The texts of answers that are still in use: parts of them are sent again as they are written. */
const sources = new WeakMap<object, string>();

/** The text of an answer. */
export const sourceOf = (answer: object): string => sources.get(answer) ?? "null";

export type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface Options {
  signal?: AbortSignal | undefined;
  /** Of a change that is sent again when no answer came: it is done once. See `token`. */
  key?: string;
  /** A POST that changes nothing: without an answer nothing was done. */
  asks?: boolean;
}

/** A word that no other has, for `Options.key`. `crypto.randomUUID` is missing over plain http. */
export function token(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0")).join("");
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

/** Call the API; throws `Refusal`, `Silence`, or what `signal` was aborted with. */
export async function call<T>(method: Method, path: string, body?: unknown, options: Options = {}): Promise<T> {
  for (let again = false; ; again = true) {
    const used = apiKey.peek();
    try {
      return await callOnce<T>(method, path, body, options);
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 401) throw error;
      if (!used || again || keyWanted.peek()) {
        if (used === apiKey.peek()) keyWanted.value = true;
        throw error;
      }
    }
    await pause(KEY_AGAIN_MS, options.signal);
  }
}

async function callOnce<T>(method: Method, path: string, body: unknown, { signal, key, asks = method === "GET" }: Options): Promise<T> {
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  if (apiKey.peek()) headers["Authorization"] = `Bearer ${apiKey.peek()}`;
  if (key) headers["Idempotency-Key"] = key;
  const patience = AbortSignal.timeout(method === "GET" ? TIMEOUT_MS : CHANGE_TIMEOUT_MS);
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? null : body instanceof Written ? body.text : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    outOfTouch.value ??= Date.now();
    throw new Silence(!asks);
  }
  const noGateway = NO_GATEWAY.includes(response.status);
  let answer: unknown = null;
  try {
    answer = text || noGateway ? parse(text) : null;
  } catch {
    if (noGateway) {
      outOfTouch.value ??= Date.now();
      throw new Silence(!asks);
    }
    outOfTouch.value = null;
    const unknown = !asks && response.status >= 500 ? `. ${PERHAPS}` : "";
    throw new Refusal(response.status, "not-json", `the answer is no JSON (status ${response.status})${unknown}`);
  }
  outOfTouch.value = null;
  if (answer !== null && typeof answer === "object") sources.set(answer, text);
  if (response.ok && OF_HISTORY.test(path)) historyAway.value = "";
  if (response.ok || (path === "/readyz" && response.status === 503)) return answer as T;
  const told = (answer ?? {}) as { code?: string; detail?: string; queued?: string; errors?: [] };
  if (told.code === "history-unavailable" && !told.detail?.startsWith("the query takes too long")) historyAway.value = told.detail ?? told.code;
  throw new Refusal(
    response.status, told.code ?? `${response.status}`, told.detail ?? response.statusText, told.queued, told.errors);
}

export const get = <T>(path: string, signal?: AbortSignal) => call<T>("GET", path, undefined, { signal });
export const post = <T>(path: string, body: unknown = {}, options?: Options) => call<T>("POST", path, body, options);

/** Of a change without an answer. */
export const PERHAPS = "It may have been done: look before you repeat it.";

/** Say an error in one line. */
export function words(error: unknown): string {
  if (error instanceof Refusal) {
    const more = error.errors.map((one) => `${one.at}: ${one.detail}`).filter((one) => one !== error.detail).join("; ");
    const queued = error.queued === "unknown" ? " It may have been queued nevertheless." : "";
    return `${error.detail || error.code}${more ? ` (${more})` : ""}${queued}`;
  }
  return `The gateway does not answer.${error instanceof Silence && error.change ? ` ${PERHAPS}` : ""}`;
}

/** A path with the parts encoded: path`/v1/queues/${name}/pause`. */
export function path(texts: TemplateStringsArray, ...parts: string[]): string {
  return texts.reduce((made, text, i) => made + encoded(parts[i - 1] ?? "") + text);
}
