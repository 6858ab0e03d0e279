// The canvas of a task as a graph that lights up as it runs.
import { useEffect, useMemo } from "preact/hooks";
import { get } from "../api";
import { partOf } from "../format";
import { useTask } from "../live";
import { useOnce } from "../resource";
import { encoded, to } from "../router";
import { FINAL, type Task, type TaskPage } from "../types";

const WIDE = 168;
const TALL = 40;
const GAP_X = 44;
const GAP_Y = 12;
const MOST = 200;
const DISCOVER_MS = 2500;

interface Place { task: Task; x: number; y: number; parent: string | null }

function parentOf(task: Task): string | null {
  return task.parent ?? null;
}

/** Lay tasks out by generation: who published whom, from left to right. */
export function layout(tasks: Task[], root: string): { places: Map<string, Place>; width: number; height: number } {
  const known = new Map(tasks.map((one) => [one.id, one]));
  const depth = new Map<string, number>();
  const depthOf = (id: string, guard = 0): number => {
    const found = depth.get(id);
    if (found !== undefined) return found;
    const parent = parentOf(known.get(id)!);
    const value = id === root || guard > 500 ? 0 : parent && known.has(parent) ? depthOf(parent, guard + 1) + 1 : id === root ? 0 : 1;
    depth.set(id, value);
    return value;
  };
  const columns = new Map<number, Task[]>();
  for (const task of tasks) {
    const at = depthOf(task.id);
    columns.set(at, [...(columns.get(at) ?? []), task]);
  }
  const places = new Map<string, Place>();
  const order = [...columns.keys()].sort((a, b) => a - b);
  const most = Math.max(1, ...[...columns.values()].map((one) => one.length));
  const height = most * (TALL + GAP_Y) - GAP_Y;
  order.forEach((at, column) => {
    const here = columns.get(at)!;
    here.sort((a, b) => (places.get(parentOf(a) ?? "")?.y ?? 0) - (places.get(parentOf(b) ?? "")?.y ?? 0)
      || (a.accepted_at ?? "").localeCompare(b.accepted_at ?? "") || a.id.localeCompare(b.id));
    const top = (height - (here.length * (TALL + GAP_Y) - GAP_Y)) / 2;
    here.forEach((task, row) => places.set(task.id, {
      task, x: column * (WIDE + GAP_X), y: top + row * (TALL + GAP_Y), parent: parentOf(task),
    }));
  });
  return { places, width: order.length * (WIDE + GAP_X) - GAP_X, height };
}

function Node({ place, current }: { place: Place; current: boolean }) {
  const task = useTask(place.task.id, place.task) ?? place.task;
  const part = partOf(task.progress);
  const name = task.task ?? task.id;
  return (
    <a href={to(["tasks", task.id])} class={`node node-${task.state.toLowerCase()}${current ? " current" : ""}`}
      aria-label={`${name}: ${task.state}`} {...(current ? { "aria-current": "true" as const } : {})}>
      <rect x={place.x} y={place.y} width={WIDE} height={TALL} rx={6} />
      {part !== undefined && <rect class="node-progress" x={place.x} y={place.y + TALL - 3} width={WIDE * part} height={3} />}
      <text x={place.x + 12} y={place.y + 17}>{name.length > 22 ? `…${name.slice(-21)}` : name}</text>
      <text class="node-state" x={place.x + 12} y={place.y + 32}>{task.state.toLowerCase()}</text>
    </a>
  );
}

export function Canvas({ root, current }: { root: string; current: string }) {
  const { data, again } = useOnce(() => get<TaskPage>(`/v1/tasks?root=${encoded(root)}&limit=${MOST}`), [root]);
  const tasks = data?.tasks ?? [];
  const made = useMemo(() => layout(tasks, root), [data]);
  const going = tasks.some((one) => !FINAL.has(one.state));
  useEffect(() => {
    // Tasks that are published on the way: the states of those that are known come by the socket.
    if (!going) return undefined;
    const timer = setTimeout(again, DISCOVER_MS);
    return () => clearTimeout(timer);
  }, [data, going]);
  if (tasks.length < 2) return null;
  const { places, width, height } = made;
  return (
    <>
      <h3>Canvas <span class="quiet">{tasks.length} tasks{data?.next ? ", the newest" : ""}</span></h3>
      <div class="canvas" tabIndex={0} role="region" aria-label="Canvas of this task">
        <svg viewBox={`-2 -2 ${width + 4} ${height + 4}`} width={width + 4} height={height + 4}>
          {[...places.values()].map((one) => {
            const from = one.parent ? places.get(one.parent) : undefined;
            if (!from) return null;
            const [x1, y1, x2, y2] = [from.x + WIDE, from.y + TALL / 2, one.x, one.y + TALL / 2];
            const bend = (x2 - x1) / 2;
            return <path key={one.task.id} class="edge" d={`M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`} />;
          })}
          {[...places.values()].map((one) => <Node key={one.task.id} place={one} current={one.task.id === current} />)}
        </svg>
      </div>
    </>
  );
}
