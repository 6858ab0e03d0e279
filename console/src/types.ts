// What the API answers, as far as the console reads it.

export interface TaskError { type: string; message: string; traceback?: string }
export interface Progress { current?: number; total?: number; message?: string }

export interface Task {
  id: string;
  task?: string;
  state: string;
  accepted_at?: string;
  started_at?: string;
  finished_at?: string;
  retries?: number;
  worker?: string;
  queue?: string;
  progress?: Progress;
  result?: unknown;
  error?: TaskError;
  truncated?: boolean;
  tracked?: boolean;
  runtime_s?: number;
  waited_s?: number;
  failure?: string;
  retried_from?: string;
  trace_id?: string;
  root?: string;
  parent?: string;
  request?: { args?: unknown[]; kwargs?: Record<string, unknown>; options?: Record<string, unknown>; masked?: boolean };
}

export interface TaskPage { tasks: Task[]; next: string | null }
export interface Change { state: string; at?: string; worker?: string; attempt?: number; error?: TaskError }
export interface Timeline { changes: Change[]; queue?: string; failure?: string; root?: string; parent?: string }

export interface Failure {
  failure: string;
  task: string | null;
  error: { type: string; message: string };
  count: number;
  first_at: string;
  last_at: string;
  per_hour: number[];
  example: string;
}

export interface FailureList { failures: Failure[]; total?: number; not_shown?: number }

export interface QueueHistory { step_s: number; until: string; in_per_s: (number | null)[]; out_per_s: (number | null)[] }
export interface Queue {
  name: string;
  type: string;
  limit: number;
  max_priority?: number;
  full: boolean;
  ready?: number;
  unacknowledged?: number;
  consumers?: number;
  rates?: { publish: number; deliver: number; ack: number };
  started_per_s?: number;
  drain_s?: number;
  oldest_s?: number;
  paused?: boolean | "partly";
  paused_by?: string;
  paused_at?: string;
  dead_letter_queue?: string;
  dead_letters?: number;
  history?: QueueHistory;
}

export interface Worker {
  name: string;
  status: "online" | "silent" | "gone";
  last_heard_at: string;
  pool?: string;
  concurrency?: number;
  running?: number;
  queues?: string[];
  processed?: number;
  software?: string;
}

export interface Trouble { code: string; subject: string; since: string; detail: string; advice: string }
export interface Readiness {
  status: "ok" | "degraded" | "unavailable" | "draining";
  checks: Record<string, { ok: boolean; detail: string }>;
}
export interface KeyShown { name: string; tenant: string; scopes: string[] }

export interface Schema {
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  default?: unknown;
  description?: string;
  title?: string;
  minimum?: number;
  maximum?: number;
}
export interface CatalogTask { name: string; schema?: Schema; positional?: string[]; doc?: string; workers: string[]; queues: string[] }

export interface Receipt { id: string; task: string; state?: string; queues: string[]; tracked: boolean }

export interface Schedule {
  name: string;
  tenant: string;
  task: string;
  args: unknown[];
  kwargs: Record<string, unknown>;
  options: Record<string, unknown>;
  enabled: boolean;
  last_run_at: string | null;
  next_run_at: string | null;
  total_runs: number;
  every?: number;
  crontab?: Record<string, string>;
  solar?: Record<string, unknown>;
  schedule?: Record<string, unknown>;
  suspended?: string;
  warning?: string;
}

export interface Letter {
  id: string;
  task: string | null;
  reason: string;
  time: string | null;
  error: { type?: string; message?: string; traceback?: string } | null;
  queue: string;
  exchange: string;
  routing_key: string;
  size_bytes: number;
  body?: unknown;
  tenant?: unknown;
  retries?: unknown;
  replays?: number;
}

export interface LongOperation {
  operation: string;
  kind?: string;
  subject?: string;
  done: number;
  failed: number;
  of: number;
  state: string;
  refusals?: Record<string, number>;
}

/** In place of a state where no single one exists. */
export const UNTRACKED = "NOT TRACKED";
export const FINAL = new Set(["SUCCESS", "FAILURE", "REVOKED"]);
export const STATES = ["PENDING", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED"];
