// One queue: its last hour, and what may be done about it.
import { brief, count, duration, rate } from "../format";
import { Empty, Fact, Loading, Section, Trouble } from "../parts/bits";
import { useWorkers } from "../parts/health";
import { Plot } from "../parts/plot";
import { useResource } from "../resource";
import { encoded, to } from "../router";
import type { Queue } from "../types";
import { hourOf, QueueActions, QueueTags } from "./queues";

export function QueueView({ name }: { name: string }) {
  const found = useResource<{ queues: Queue[] }>(`/v1/queues?with=history&name=${encoded(name)}`, 5000);
  const workers = useWorkers().data.value?.workers;
  const queue = found.data.value?.queues.find((one) => one.name === name);
  if (!queue) {
    return found.data.value ? <Empty>There is no queue “{brief(name, 120)}”. <a href={to([])}>All queues</a></Empty>
      : found.problem.value ? <Trouble problem={found.problem.value} what="queues" /> : <Loading />;
  }
  const hour = hourOf(queue);
  const ours = workers?.filter((one) => one.queues?.includes(name)) ?? [];
  return (
    <Section title={name} id="queue" aside={<><QueueTags queue={queue} /><QueueActions queue={queue} /></>}>
      <dl class="facts">
        <Fact name="Ready">{count(queue.ready)}</Fact>
        <Fact name="Unacknowledged">{count(queue.unacknowledged)}</Fact>
        <Fact name="Oldest">{duration(queue.oldest_s)}</Fact>
        <Fact name="Started per second">{rate(queue.started_per_s)}</Fact>
        <Fact name="Empty in">{queue.drain_s === undefined ? "–" : duration(queue.drain_s)}</Fact>
        <Fact name="Refuses from">{count(queue.limit)}</Fact>
        <Fact name="Type">{queue.type}{queue.max_priority ? `, priorities to ${queue.max_priority}` : ""}</Fact>
        <Fact name="Dead letters">
          {queue.dead_letters ? <a href={to(["dead-letters", name])}>{count(queue.dead_letters)}</a> : count(queue.dead_letters)}
        </Fact>
      </dl>
      {hour && (
        <>
          <h3>Last hour, per second</h3>
          <Plot full label={`${name}: in and out per second, last hour`} names={["in", "out"]} height={200}
            xs={hour.xs} lines={hour.lines} />
        </>
      )}
      <h3>Workers</h3>
      {ours.length ? (
        <ul class="plain-list">
          {ours.map((one) => (
            <li key={one.name}><a href={to(["workers"])}>{one.name}</a> <span class="quiet">{one.status}, {count(one.running)} of {count(one.concurrency)} busy</span></li>
          ))}
        </ul>
      ) : <Empty>No worker that is known consumes it.</Empty>}
      <p><a href={to(["tasks"], { queue: name })}>Tasks of this queue</a></p>
    </Section>
  );
}
