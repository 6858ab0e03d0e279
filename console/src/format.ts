// Numbers and times as people read them.
import { signal } from "@preact/signals";
import { numberOf } from "./json";
import type { Progress } from "./types";

/** The time of day, once a second. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const hour = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** How much of a task is done, 0 to 1; undefined: it does not say. */
export function partOf(progress: Progress | undefined): number | undefined {
  const total = numberOf(progress?.total);
  if (!total) return undefined;
  const part = (numberOf(progress?.current) ?? 0) / total;
  return Number.isNaN(part) ? undefined : Math.max(0, Math.min(1, part));
}

export const NONE = "–";

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : whole.format(value);
}

export function many(value: number, one: string, more = `${one}s`): string {
  return `${whole.format(value)} ${value === 1 ? one : more}`;
}

export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  if (value < 0.1) return "<0.1";
  return value < 10 ? value.toFixed(1) : whole.format(value);
}

/** Seconds: 0.42 s, 12 s, 3 min 5 s, 2 h 4 min, 3 d 2 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s % 60 ? ` ${s % 60} s` : ""}`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h${Math.floor((s % 3600) / 60) ? ` ${Math.floor((s % 3600) / 60)} min` : ""}`;
  return `${Math.floor(s / 86_400)} d${Math.floor((s % 86_400) / 3600) ? ` ${Math.floor((s % 86_400) / 3600)} h` : ""}`;
}

/** One unit only, for ages. */
export function short(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

export function moment(text: string): string {
  return clock.format(new Date(text));
}

export function timeOfDay(text: string): string {
  const at = new Date(text);
  return `${hour.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${(value / 1024).toFixed(1)} KiB`;
  return `${(value / 1024 / 1024).toFixed(1)} MiB`;
}

/** Letters of right-to-left scripts, and signs that turn text around. */
const TURNS = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc]/;
const CLOSED = /[\u202a-\u202e\u2066-\u2069]/g;

/** A name of others within a sentence: whichever way it is written, the sentence stays as it is. */
export function named(text: string): string {
  const short = text.length > 120 ? `${text.slice(0, 80)}…${text.slice(-30)}` : text;
  return TURNS.test(short) ? `\u2068${short.replace(CLOSED, "")}\u2069` : short;
}

const MOST_CHARS = 400;

/** What a line has room for: more costs the layout seconds, and nobody sees it. */
export function brief(text: string, most = MOST_CHARS): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

/** The end of an id: all that differs at a glance. */
export function shortId(id: string): string {
  return id.length > 13 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id;
}
