// One line: is all well?
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { link, linkLostAt } from "../live";
import { historyAway, outOfTouch, Refusal } from "../api";
import { brief, many, now, short } from "../format";
import { useResource } from "../resource";
import { to } from "../router";
import type { Readiness, Trouble, Worker } from "../types";
import { Since } from "./bits";

export const useReadiness = () => useResource<Readiness>("/readyz", 5000);
export const useTroubles = () => useResource<{ problems: Trouble[]; scheduler?: boolean }>("/v1/problems", 5000);
export const useWorkers = () => useResource<{ workers: Worker[] }>("/v1/workers", 5000);

/** Queues that are paused by hand, or full. */
export const heldUp = signal(0);

/** Servers without which little goes on: what that means, and what to do. */
const AWAY: Record<string, [string, string]> = {
  rabbitmq: ["RabbitMQ is away.", "Submits are refused and say so; workers are idle; what was accepted is on its disk. Start it: gateways and workers connect again by themselves."],
  redis: ["Redis is away.", "Submits go on; tasks wait instead of running, and states are not known. Start it: all goes on by itself, and problems below are from before."],
};

/** What a deployment says that has none: there is nothing to mend. */
const NO_HISTORY = "HISTORY_URL is not set";
const HISTORY_AWAY = "Past tasks and failures cannot be shown, and nothing can be run again; submits, queues and running tasks go on. "
  + "If it is MongoDB that is away, ingested documents wait in RabbitMQ, and none is lost. Start it, or the history process: all goes on by itself, and what happened meanwhile is written down then.";

type Mark = "ok" | "warn" | "bad" | "off";

function Part({ mark, name, children }: { mark: Mark; name: string; children: string }) {
  const words = { ok: "", warn: "warning: ", bad: "problem: ", off: "unknown: " }[mark];
  return (
    <li class={`part ${mark}`}>
      <i aria-hidden="true" /><span>{name}</span> <b><span class="hidden">{words}</span>{children}</b>
    </li>
  );
}

export function Health({ all, held }: { all: boolean; held: ComponentChildren }) {
  const readiness = useReadiness();
  const away = outOfTouch.value;
  const unknown = away !== null || readiness.problem.value !== null;
  const ready = unknown ? null : readiness.data.value;
  const troubles = useTroubles();
  const found = troubles.data.value?.problems ?? [];
  const workers = useWorkers().data.value?.workers;
  const expected = workers?.filter((one) => one.status !== "gone") ?? [];
  const online = expected.filter((one) => one.status === "online");
  const scheduler = troubles.data.value?.scheduler;
  const beatSilent = found.some((one) => one.code === "beat-silent");
  const checks = ready?.checks ?? {};
  const refuses = found.some((one) => one.code === "redis-refuses");
  const gone = Object.keys(AWAY).filter((name) => checks[name] && !checks[name].ok && !(name === "redis" && refuses));
  // What else fails while a server is away, fails for want of it.
  const failing = gone.length || refuses ? [] : Object.entries(checks).filter(([, one]) => !one.ok);
  const known = !unknown && !refuses && !gone.includes("redis");
  const noHistory = historyAway.value?.startsWith(NO_HISTORY) ? "none"
    : historyAway.value && !found.some((one) => one.code === "history-behind") ? "away" : "";
  const number = found.length + gone.length + failing.length + Number(noHistory === "away");
  const paused = heldUp.value;
  const unheard = troubles.problem.value !== null;
  const verdict = [number && many(number, "problem"), paused && `${many(paused, "queue")} held up`].filter(Boolean).join(", ")
    || (unheard ? "Problems are not known" : "All is well");
  const mark: Mark = !ready ? "off" : ready.status === "unavailable" ? "bad" : number + paused || unheard ? "warn" : "ok";
  return (
    <section class={`health ${mark}`} aria-label="Health">
      <div class="health-line">
        <p class="verdict" role="status">
          <i aria-hidden="true" />
          {away ? "Out of touch" : unknown ? "Not known" : !ready ? "Looking…" : ready.status === "unavailable" ? "Unavailable"
            : all || !(number + paused) ? verdict : <a href={to([])}>{verdict}</a>}
        </p>
        <ul>
          <Part name="RabbitMQ" mark={!ready ? "off" : checks.rabbitmq?.ok ? "ok" : "bad"}>
            {unknown ? "not known" : checks.rabbitmq?.detail ?? "…"}
          </Part>
          <Part name="Redis" mark={!ready ? "off" : checks.redis?.ok ? "ok" : "bad"}>
            {unknown ? "not known" : checks.redis ? (checks.redis.ok ? "ready" : checks.redis.detail) : "…"}
          </Part>
          <Part name="Scheduler" mark={!known ? "off" : beatSilent ? "warn" : scheduler ? "ok" : "off"}>
            {!known ? "not known" : !troubles.data.value ? "…" : beatSilent ? "silent" : scheduler ? "running" : "none"}
          </Part>
          <Part name="Workers" mark={!workers || !known ? "off" : online.length && online.length === expected.length ? "ok" : "warn"}>
            {!known ? "not known" : workers ? `${online.length} of ${expected.length}` : "…"}
          </Part>
          {historyAway.value !== null && noHistory !== "none" && (
            <Part name="History" mark={unknown ? "off" : noHistory ? "bad" : "ok"}>{unknown ? "not known" : noHistory || "ready"}</Part>
          )}
          <Part name="Live" mark={link.value === "open" ? "ok" : link.value === "lost" ? "bad" : "off"}>
            {link.value === "open" ? "connected" : link.value === "lost" ? "lost" : "connecting"}
          </Part>
        </ul>
      </div>
      {all && gone.map((name) => (
        <p key={name} class="notice bad"><b>{AWAY[name]![0]}</b> {AWAY[name]![1]}</p>
      ))}
      {all && noHistory === "away" && <p class="notice bad"><b>History is away: {brief(historyAway.value!, 300)}.</b> {HISTORY_AWAY}</p>}
      {all && failing.map(([name, one]) => (
        <p key={name} class="notice bad"><b>{name}</b> {one.detail}</p>
      ))}
      {troubles.problem.value instanceof Refusal && troubles.problem.value.status !== 401 && (
        <p class="notice bad">Problems are not known: {troubles.problem.value.detail}</p>
      )}
      {all && found.length > 0 && (
        <ul class="troubles">
          {found.map((one) => (
            <li key={`${one.code} ${one.subject}`}>
              <p>
                <span class="tag warn">{one.code}</span> <Subject trouble={one} /> <span>{brief(one.detail, 600)}</span>{" "}
                <small>for <Since at={one.since} /></small> <Remedy trouble={one} />
              </p>
              <p class="advice">{one.advice}</p>
            </li>
          ))}
        </ul>
      )}
      {held}
    </section>
  );
}

/** Where the console itself can mend it. */
function Remedy({ trouble: { code, subject } }: { trouble: Trouble }) {
  const found: Record<string, [string, string]> = {
    "queue-without-worker": ["Have a worker consume it", to(["workers"], { queue: subject })],
    "queue-stalled": ["What runs of it", to(["tasks"], { queue: subject, state: "STARTED,PROGRESS" })],
    "worker-silent": ["What it ran", to(["tasks"], { worker: subject, state: "STARTED,PROGRESS" })],
    "task-stuck": ["Look at it and terminate it", to(["tasks", subject])],
    "dead-letters-growing": ["Read, replay or discard them", to(["dead-letters", subject])],
    "beat-silent": ["Run schedules by hand", to(["schedules"])],
  };
  const one = subject === "callbacks" ? undefined : found[code];
  return one ? <a class="button plain" href={one[1]}>{one[0]}</a> : null;
}

function Subject({ trouble }: { trouble: Trouble }) {
  const place = trouble.code.startsWith("queue-") ? ["queues", trouble.subject]
    : trouble.code === "worker-silent" ? ["workers"]
    : trouble.code === "task-stuck" ? ["tasks", trouble.subject]
    : trouble.code === "dead-letters-growing" ? ["dead-letters", trouble.subject] : null;
  return place ? <a href={to(place)}>{brief(trouble.subject, 120)}</a> : <b>{brief(trouble.subject, 120)}</b>;
}

/** Says that what is shown is old, as soon as it is. */
export function TouchLine() {
  const away = outOfTouch.value;
  const lost = link.value === "lost" && linkLostAt.value ? linkLostAt.value : null;
  const since = away ?? lost;
  if (!since || now.value - since < 1500) return <div role="alert" />;
  return (
    <div class="touch" role="alert">
      {away ? "Out of touch with the gateway" : "Live updates are interrupted"} for {short((now.value - since) / 1000)}.
      What is shown is from then; this page tries again by itself.
    </div>
  );
}
