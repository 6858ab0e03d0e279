// Tasks run again or revoked, one or many: how many is asked of the gateway first.
import type { ComponentChildren } from "preact";
import { post } from "../api";
import { brief, count, many, moment } from "../format";
import { ask, follow } from "../parts/dialog";
import type { Failure } from "../types";

type Where = Record<string, string>;
interface Begun { operation: string; matched: number; without_request?: number }

const dryRun = (kind: string, body: object) => post<Begun>(`/v1/tasks/${kind}`, { ...body, dry_run: true }, { asks: true });

async function begin(kind: "retry" | "revoke", key: string, body: object, what?: string): Promise<string> {
  const begun = await post<Begun>(`/v1/tasks/${kind}`, body, { key });
  const doing = kind === "retry" ? "Retrying" : "Revoking";
  void follow(what ? `${doing} ${what}` : doing, begun.operation);
  return `${doing} ${what ?? many(begun.matched, "task")}`;
}

function matching(found: Begun, kind: string): { number: number; words: ComponentChildren } {
  const left = kind === "retry" ? found.without_request ?? 0 : 0;
  return { number: found.matched - left, words: <><b>{many(found.matched, "task")}</b> {found.matched === 1 ? "matches" : "match"}
    {left ? `; of ${count(left)} the arguments were not kept, and they stay as they are` : ""}.</> };
}

const AGAIN = "Published again with the arguments kept, under new ids, 100 a second. What was run again before is run once more.";

/** Retry or revoke all that match filters. */
export function bulk(kind: "retry" | "revoke", where: Where): void {
  ask({
    title: kind === "retry" ? "Run all that match again?" : "Revoke all that match?",
    body: <p>{kind === "retry" ? AGAIN : "Those that have not ended."}{" "}
      Filters: <code>{brief(new URLSearchParams(where).toString() || "none")}</code></p>,
    count: async () => matching(await dryRun(kind, { where }), kind),
    action: (number) => `${kind === "retry" ? "Retry" : "Revoke"} ${many(number, "task")}`,
    danger: kind === "revoke",
    run: (key) => begin(kind, key, { where }),
  });
}

/** Retry a group of failures: those of a period, by the time at which they were accepted. */
export function retryGroup(one: Failure, bounds: { since: string; until: string }): void {
  const every: Where = { failure: one.failure, state: "FAILURE" };
  const where = { ...every, ...Object.fromEntries(Object.entries(bounds).filter(([, value]) => value)) };
  ask({
    title: "Run these again?",
    body: <p><b>{brief(one.error.type || "Unknown", 60)}</b> in <b>{brief(one.task ?? "–", 120)}</b>. {AGAIN}</p>,
    count: async () => {
      const [these, all] = await Promise.all([dryRun("retry", { where }), dryRun("retry", { where: every })]);
      const found = matching(these, "retry");
      const others = all.matched - these.matched;
      return { ...found, words: <>{found.words} Accepted since {moment(bounds.since)}{bounds.until && <> and before {moment(bounds.until)}</>}
        {others > 0 && <>; {count(others)} of other times are left as they are</>}.</> };
    },
    action: (number) => `Retry ${many(number, "task")}`,
    run: (key) => begin("retry", key, { where }),
  });
}

/** Retry tasks by their ids. */
export function retry(ids: string[], words: string): void {
  ask({
    title: `Run ${words} again?`,
    body: <p>Published again with the arguments that were kept, under new ids.</p>,
    count: async () => {
      const dry = await dryRun("retry", { ids });
      const number = dry.matched - (dry.without_request ?? 0);
      return { number, words: number ? <>{many(number, "task")} with arguments kept.</> : <>It cannot: its arguments were not kept.</> };
    },
    action: (number) => `Retry ${many(number, "task")}`,
    run: (key) => begin("retry", key, { ids }, words),
  });
}
