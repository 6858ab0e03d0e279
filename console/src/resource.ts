// What is asked for again every few seconds, while somebody looks.
import { signal, type Signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { apiKey, get } from "./api";

export interface Resource<T> {
  data: Signal<T | null>;
  problem: Signal<unknown>;
  reload: () => void;
}

class Shared<T> implements Resource<T> {
  readonly data = signal<T | null>(null);
  readonly problem = signal<unknown>(null);
  private users = 0;
  private timer = 0;
  private asking: AbortController | null = null;

  constructor(private readonly path: string, private readonly everyMs: number) {}

  use(): () => void {
    if (this.users++ === 0) this.reload();
    return () => {
      if (--this.users === 0) this.stop();
    };
  }

  reload = (): void => {
    if (this.users) void this.ask();
  };

  private stop(): void {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = null;
  }

  private async ask(): Promise<void> {
    this.stop();
    const asking = (this.asking = new AbortController());
    try {
      const found = await get<T>(this.path, asking.signal);
      if (asking.signal.aborted) return;
      this.data.value = found;
      this.problem.value = null;
    } catch (error) {
      if (asking.signal.aborted) return;
      this.problem.value = error;
    }
    this.asking = null;
    if (this.everyMs && this.users) this.timer = window.setTimeout(() => this.turn(), this.everyMs);
  }

  private turn(): void {
    if (document.hidden) {
      document.addEventListener("visibilitychange", this.reload, { once: true });
    } else {
      this.reload();
    }
  }
}

const shared = new Map<string, Shared<unknown>>();

function resource<T>(path: string, everyMs: number): Shared<T> {
  const name = `${everyMs} ${path}`;
  let found = shared.get(name);
  if (!found) shared.set(name, (found = new Shared<unknown>(path, everyMs)));
  return found as Shared<T>;
}

/** Ask again everything that is shown. */
export function reloadAll(): void {
  for (const one of shared.values()) one.reload();
}

/** What a path answers, asked again every so many milliseconds (0: never). */
export function useResource<T>(path: string, everyMs = 0): Resource<T> {
  const one = resource<T>(path, everyMs);
  useEffect(() => one.use(), [one, apiKey.value]);
  return one;
}

/** A promise's value, for what is asked once. */
export function useOnce<T>(ask: () => Promise<T>, on: unknown[]): { data: T | null; problem: unknown; again: () => void } {
  const [turn, again] = useState(0);
  const [found, setFound] = useState<{ data: T | null; problem: unknown }>({ data: null, problem: null });
  const latest = useRef(0);
  const asked = useRef("");
  const text = JSON.stringify(on);
  useEffect(() => {
    const mine = ++latest.current;
    ask().then(
      (data) => {
        if (mine !== latest.current) return;
        asked.current = text;
        setFound({ data, problem: null });
      },
      (problem) => mine === latest.current && setFound((before) => ({ data: asked.current === text ? before.data : null, problem })),
    );
  }, [text, turn]);
  return { ...found, again: () => again((n) => n + 1) };
}
