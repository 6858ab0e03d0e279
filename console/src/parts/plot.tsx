// Small plots: in and out per second, and failures by hour.
import uPlot from "uplot";
import { useEffect, useRef } from "preact/hooks";
import { signal } from "@preact/signals";

const dark = matchMedia("(prefers-color-scheme: dark)");
const scheme = signal(dark.matches);
dark.addEventListener("change", () => (scheme.value = dark.matches));

export type Line = (number | null)[];

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

interface Props {
  label: string;
  xs: number[];
  lines: Line[];
  height: number;
  /** With axes and a legend; else a line alone. */
  full?: boolean;
  names?: string[];
}

function timeOfTick(seconds: number): string {
  const at = new Date(seconds * 1000);
  return `${String(at.getHours()).padStart(2, "0")}:${String(at.getMinutes()).padStart(2, "0")}`;
}

const COLOURS = ["--accent", "--line-2", "--warn"];

/** Lines over time. */
export function Plot({ label, xs, lines, height, full = false, names = [] }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const isDark = scheme.value;
  useEffect(() => {
    const element = place.current!;
    const axis: uPlot.Axis = {
      stroke: colour("--muted"), grid: { stroke: colour("--hair"), width: 1 }, ticks: { show: false },
      font: "11px Inter Variable, system-ui", size: 34, gap: 4,
    };
    const made = new uPlot({
      width: element.clientWidth || 120,
      height,
      cursor: { show: full, y: false },
      select: { show: false, left: 0, top: 0, width: 0, height: 0 },
      legend: { show: full, live: true },
      padding: full ? [8, 8, 0, 0] : [3, 1, 3, 1],
      scales: { x: { time: true }, y: { range: (_u, _min, max) => [0, Math.max(full ? 1 : 0.5, max * 1.1)] } },
      axes: full ? [{ ...axis, size: 24, values: (_u, ticks) => ticks.map(timeOfTick) }, axis] : [{ show: false }, { show: false }],
      series: [
        { label: "at", value: (_u, value) => (value ? timeOfTick(value) : "–") },
        ...lines.map((_, i) => ({
          label: names[i] ?? "",
          stroke: colour(COLOURS[i]!),
          width: full ? 1.5 : 1.25,
          points: { show: false },
          ...(i === 0 ? { fill: colour("--accent-wash") } : {}),
          value: (_u: uPlot, value: number | null) => (value === null ? "–" : value.toFixed(value < 10 ? 1 : 0)),
        })),
      ],
    }, [xs, ...lines] as uPlot.AlignedData, element);
    plot.current = made;
    const watcher = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      made.destroy();
    };
  }, [isDark, lines.length, height]);
  useEffect(() => plot.current?.setData([xs, ...lines] as uPlot.AlignedData), [xs, lines]);
  return <div class={full ? "plot" : "spark"} ref={place} role="img" aria-label={label} />;
}

/** A bar for each hour of a day. */
export function Hours({ counts, label }: { counts: number[]; label: string }) {
  const most = Math.max(1, ...counts);
  const bars = (some: (value: number) => boolean) => counts.map((value, i) => {
    const tall = value ? Math.max(2, Math.round((value / most) * 220) / 10) : 1;
    return some(value) ? `M${i * 5} 24v-${tall}h4v${tall}z` : "";
  }).join("");
  return (
    <svg class="hours" viewBox={`0 0 ${counts.length * 5} 24`} role="img" aria-label={label} preserveAspectRatio="none">
      <path class="none" d={bars((value) => !value)} />
      <path d={bars((value) => value > 0)} />
    </svg>
  );
}
