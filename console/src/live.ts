// The one WebSocket: states and log lines of every task that is on the page.
import { batch, signal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { apiKey, call, caller, keyWanted, post, Refusal } from "./api";
import { parse } from "./json";
import { FINAL, type KeyShown, type Task } from "./types";

const MOST_LINES = 1000;
/** What one frame may spend on changes, in milliseconds; the rest is for the next. */
const FRAME_MS = 6;
const AT_ONCE = 8;
const HIDDEN_MS = 500;
const SILENT_MS = 45_000;
const PING_MS = 15_000;
const TICKET_MS = 20_000;
const MOST_IDS = 9_000;
/** How long what was told of a task is kept when nothing shows it any more. */
const KEPT_MS = 5_000;

export type Link = "open" | "connecting" | "lost";
/** How the socket is. */
export const link = signal<Link>("connecting");
export const linkLostAt = signal<number | null>(null);

interface Watched {
  users: number;
  cursor: string | null;
  state: Signal<Task | null>;
  lines: Signal<string[]>;
  done: boolean;
}

type Heard = Task & { type: string; cursor?: string; line?: string };

const watched = new Map<string, Watched>();
let socket: WebSocket | null = null;
let waitMs = 250;
let heardAt = 0;
/** The latest that was heard of each task and is not shown yet, in the order in which it came. */
const heard = new Map<string, Heard>();
const heardLines = new Map<string, string[]>();
let showing = false;
let toAdd = new Set<string>();
let toDrop = new Set<string>();

function of(id: string): Watched {
  let found = watched.get(id);
  if (!found) {
    found = { users: 0, cursor: null, state: signal(null), lines: signal([]), done: false };
    watched.set(id, found);
  }
  return found;
}

/** Watch a task until the returned function is called. */
export function watch(id: string): () => void {
  const one = of(id);
  if (one.users++ === 0 && !one.done) plan(id, true);
  return () => {
    if (--one.users > 0) return;
    plan(id, false);
    setTimeout(() => one.users === 0 && watched.get(id) === one && watched.delete(id), KEPT_MS);
  };
}

function plan(id: string, add: boolean): void {
  if (!toAdd.size && !toDrop.size) queueMicrotask(send);
  if (add) {
    if (!toDrop.delete(id)) toAdd.add(id);
  } else if (!toAdd.delete(id)) toDrop.add(id);
}

function send(): void {
  const add = toAdd;
  const drop = toDrop;
  toAdd = new Set();
  toDrop = new Set();
  if (socket?.readyState !== WebSocket.OPEN) return;
  if (drop.size) socket.send(JSON.stringify({ op: "unsubscribe", ids: [...drop] }));
  subscribe([...add]);
}

function subscribe(ids: string[]): void {
  const tasks = Object.fromEntries(ids.slice(0, MOST_IDS).map((id) => [id, of(id).cursor]));
  if (ids.length) socket?.send(JSON.stringify({ op: "subscribe", tasks }));
}

function hear(message: Heard): void {
  heardAt = Date.now();
  const one = message.id ? watched.get(message.id) : undefined;
  if (!one) return;
  if (message.cursor) one.cursor = message.cursor;
  if (message.type === "state" && message.tracked === false) one.done = true;
  else if (message.type === "state") heard.set(message.id, message);
  else if (message.type === "error") refused(message.id, one);
  else if (message.type === "log") {
    const lines = heardLines.get(message.id) ?? [];
    heardLines.set(message.id, lines);
    lines.push(message.line ?? "");
    if (lines.length > 2 * MOST_LINES) lines.splice(0, MOST_LINES);
  } else return;
  if (!showing) {
    showing = true;
    nextFrame();
  }
}

/** Nothing more comes of this task: what was told of it is not the state of now. */
function refused(id: string, one: Watched): void {
  heard.delete(id);
  one.cursor = null;
  one.state.value = null;
}

function nextFrame(): void {
  // A page in the background has no frames.
  if (document.hidden) setTimeout(() => void show(), HIDDEN_MS);
  else requestAnimationFrame(() => void show());
}

function first<Value>(of: Map<string, Value>, most: number): [string, Value][] {
  const found: [string, Value][] = [];
  for (const one of of) {
    if (found.push(one) === most) break;
  }
  return found;
}

/** Show what was heard: as much as a frame has time for, however much that is. */
async function show(): Promise<void> {
  const began = performance.now();
  do {
    batch(() => {
      for (const [id, message] of first(heard, AT_ONCE)) {
        heard.delete(id);
        showState(id, message);
      }
      for (const [id, more] of first(heardLines, 2)) {
        heardLines.delete(id);
        const one = watched.get(id);
        if (one) one.lines.value = [...one.lines.value, ...more].slice(-MOST_LINES);
      }
    });
    await Promise.resolve(); // components of these are drawn before this goes on
  } while ((heard.size || heardLines.size) && performance.now() - began < FRAME_MS);
  showing = heard.size + heardLines.size > 0;
  if (showing) nextFrame();
}

function showState(id: string, message: Heard): void {
  const one = watched.get(id);
  if (!one) return;
  const { type: _type, cursor: _cursor, ...state } = message;
  one.state.value = state;
  one.done = FINAL.has(state.state);
}

async function connect(): Promise<void> {
  if (socket) return;
  try {
    const options = { asks: true, signal: AbortSignal.timeout(TICKET_MS) };
    const { scopes } = caller.peek() ?? (await call<KeyShown>("GET", "/v1/key", undefined, options));
    const whose = scopes.includes("admin") ? { tenants: "all" } : {};
    const { ticket } = await post<{ ticket: string }>("/v1/tickets", whose, options);
    const url = new URL(`/v1/stream?ticket=${encodeURIComponent(ticket)}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    open(new WebSocket(url, "penstock.v1"));
  } catch (error) {
    lost();
    if (!(error instanceof Refusal && error.status === 401)) again();
  }
}

function open(opened: WebSocket): void {
  socket = opened;
  opened.addEventListener("open", () => {
    waitMs = 250;
    heardAt = Date.now();
    link.value = "open";
    linkLostAt.value = null;
    subscribe([...watched].filter(([, one]) => one.users > 0 && !one.done).map(([id]) => id));
  });
  opened.addEventListener("message", (event: MessageEvent<string>) => hear(parse(event.data) as Heard));
  opened.addEventListener("close", () => {
    if (socket !== opened) return;
    socket = null;
    lost();
    again();
  });
}

function lost(): void {
  linkLostAt.value ??= Date.now();
  link.value = "lost";
}

function again(): void {
  setTimeout(() => void connect(), waitMs * (0.75 + Math.random() / 2));
  waitMs = Math.min(2 * waitMs, 10_000);
}

/** Open the socket, and keep it open. */
export function keepOpen(): void {
  void connect();
  apiKey.subscribe(() => {
    if (keyWanted.peek() || socket?.readyState === WebSocket.OPEN) return;
    if (link.peek() === "lost") void connect();
  });
  setInterval(() => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - heardAt > SILENT_MS) {
      socket.close();
      return;
    }
    socket.send('{"op":"ping"}');
    // What was refused may be known by now: a task that others publish is, once it has started.
    subscribe([...watched].filter(([, one]) => one.users > 0 && !one.done && one.state.peek() === null).map(([id]) => id));
  }, PING_MS);
}

/** Whether the socket tells what becomes of a task; of others only polls know the state. */
export function pushed(id: string): boolean {
  return link.value === "open" && (watched.get(id)?.state.value ?? null) !== null;
}

/** Subscribe once more to a task of which the socket said nothing. */
export function watchAgain(id: string): void {
  if (watched.get(id)?.users && !pushed(id)) plan(id, true);
}

/** The state of a task as it is now: what was listed, until the socket has said more. */
export function useTask(id: string, listed: Task | null): Task | null {
  const ended = listed !== null && FINAL.has(listed.state);
  useEffect(() => (ended ? undefined : watch(id)), [id, ended]);
  if (ended) return listed;
  const told = of(id).state.value;
  return told ? { ...listed, ...told } : listed;
}

/** The lines of output of a task that is watched. */
export function useLines(id: string): string[] {
  useEffect(() => watch(id), [id]);
  return of(id).lines.value;
}
