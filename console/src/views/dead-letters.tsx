// Dead letters: why each message died, its body, and another chance or none.
import { useState } from "preact/hooks";
import { caller, isAdmin, may, path, post, sourceOf } from "../api";
import { edit, isCall } from "../draft";
import { brief, bytes, count, many } from "../format";
import { cut } from "../json";
import { Ago, Code, Empty, Json, Loading, Section, TaskLink, Trouble } from "../parts/bits";
import { ask } from "../parts/dialog";
import { Table, type Column } from "../parts/table";
import { useResource } from "../resource";
import { to } from "../router";
import type { Letter } from "../types";
import { useQueues } from "./queues";

const MOST = 500;
const MOST_TABS = 40;

interface LetterList { total: number; letters: Letter[] }
/** Letters of a request: those that were shown, and no other that has died since. */
type Which = { ids: string[] } | { all: true; at_most: number };

/** All letters of a queue, as they were listed: by their ids where all are listed, else the first so many. */
function allOf({ total, letters }: LetterList): Which {
  const ids = [...new Set(letters.map((one) => one.id))];
  return ids.length === total ? { ids } : { all: true, at_most: total };
}

interface Replayed { replayed: number; failed: { id: string; detail: string }[]; missing: string[]; remaining: number }

function replay(queue: string, which: Which, number: number): void {
  ask({
    title: `Replay ${many(number, "letter")} of ${queue}?`,
    body: <p>Each is published again to where it came from, and removed once that is confirmed.</p>,
    action: `Replay ${many(number, "letter")}`,
    run: async () => {
      const done = await post<Replayed>(path`/v1/dead-letters/${queue}/replay`, which);
      const failed = done.failed.length ? `, ${many(done.failed.length, "failure")}: ${done.failed[0]!.detail}` : "";
      return `${many(done.replayed, "letter")} replayed, ${count(done.remaining)} remain${failed}`;
    },
  });
}

function discard(queue: string, which: Which, number: number): void {
  ask({
    title: `Discard ${many(number, "letter")} of ${queue}?`,
    body: <p>They are removed for good. Their tasks ended when they died.</p>,
    action: `Discard ${many(number, "letter")}`,
    danger: true,
    run: async () => {
      const done = await post<{ discarded: number; remaining: number }>(path`/v1/dead-letters/${queue}/discard`, which);
      return `${many(done.discarded, "letter")} discarded, ${count(done.remaining)} remain`;
    },
  });
}

/** Open the form with the arguments of a letter. */
function correct(letter: Letter, list: LetterList, queue: string): void {
  const place = String(list.letters.indexOf(letter));
  edit(letter.task!, queue, cut(sourceOf(list), "letters", place, "body")!, ["0", "1"]);
}

function Body({ letter, list, queue }: { letter: Letter; list: LetterList; queue: string }) {
  return (
    <div class="example">
      <p class="quiet">{letter.exchange ? <>exchange <code>{letter.exchange}</code>, </> : null}routing key <code>{letter.routing_key}</code>, {bytes(letter.size_bytes)}
        {letter.replays ? <>, replayed {many(letter.replays, "time")}</> : null}</p>
      {letter.error?.message && <p class="error-line"><b>{brief(letter.error.type ?? "", 200)}</b> {brief(letter.error.message, 2000)}</p>}
      {letter.task && isCall(letter.body) && may("submit") && (
        <p><button type="button" onClick={() => correct(letter, list, queue)}>Correct and submit…</button>{" "}
          <span class="quiet">as a new task; then discard this letter.</span></p>
      )}
      {letter.error?.traceback && <><h4>Traceback</h4><Code label="Traceback" value={letter.error.traceback} /></>}
      <h4>Body</h4>
      {letter.body === undefined ? <p class="quiet">{letter.size_bytes > 65_536 ? "It is longer than 64 KiB." : "Left out: the bodies before it make 8 MiB."}</p>
        : typeof letter.body === "string" ? <Code label="Body" value={letter.body} /> : <Json label="Body" value={letter.body} />}
    </div>
  );
}

function Letters({ queue }: { queue: string }) {
  const found = useResource<LetterList>(`${path`/v1/dead-letters/${queue}`}?limit=${MOST}`, 10_000);
  const [open, setOpen] = useState<string | null>(null);
  const list = found.data.value;
  const columns: Column<Letter>[] = [
    { id: "task", head: "Task", cell: (one) => <span class="strong clip">{brief(one.task ?? "not a task")}</span> },
    { id: "id", head: "Id", cell: (one) => <TaskLink id={one.id} /> },
    { id: "reason", head: "Died of", cell: (one) => <><span class="tag">{one.reason}</span> {one.error && <span class="clip quiet" title={brief(one.error.message ?? "")}>{brief([one.error.type, one.error.message].filter(Boolean).join(": "))}</span>}</> },
    { id: "time", head: "When", end: true, cell: (one) => <Ago at={one.time} /> },
    { id: "actions", head: "", end: true, cell: (one) => (
      <span class="actions">
        <button type="button" class="plain" aria-expanded={open === one.id} onClick={() => setOpen(open === one.id ? null : one.id)}>Body<span class="hidden"> of {one.id}</span></button>
        <button type="button" class="plain" onClick={() => replay(queue, { ids: [one.id] }, 1)}>Replay<span class="hidden"> {one.id}</span></button>
        <button type="button" class="plain" onClick={() => discard(queue, { ids: [one.id] }, 1)}>Discard<span class="hidden"> {one.id}</span></button>
      </span>
    ) },
  ];
  return (
    <Section title={`Dead letters of ${queue}`} id="letters" aside={list && list.total > 0 && (
      <span class="actions">
        <button type="button" onClick={() => replay(queue, allOf(list), list.total)}>Replay all {count(list.total)}…</button>
        <button type="button" class="danger" onClick={() => discard(queue, allOf(list), list.total)}>Discard all {count(list.total)}…</button>
      </span>
    )}>
      {!list ? (found.problem.value ? <Trouble problem={found.problem.value} what="dead letters" /> : <Loading />)
        : list.letters.length === 0 ? <Empty>No message of {queue} has died.</Empty>
        : <Table kind="t-letters" label={`Dead letters of ${queue}`} columns={columns} rows={list.letters} name={(one) => one.id}
            below={(one) => open === one.id && <Body letter={one} list={list} queue={queue} />} />}
      {list && list.total > list.letters.length && <p class="quiet">The first {count(list.letters.length)} of {count(list.total)}.</p>}
    </Section>
  );
}

export function DeadLetters({ queue }: { queue?: string }) {
  const queues = useQueues();
  const having = queues.data.value?.queues.filter((one) => one.dead_letter_queue);
  const chosen = queue ?? having?.find((one) => one.dead_letters)?.name;
  const [search, setSearch] = useState("");
  const words = search.toLowerCase();
  // Those with dead letters first: of many queues the others are found by name.
  const found = having?.filter((one) => one.name.toLowerCase().includes(words)) ?? [];
  const tabs = having && having.length > MOST_TABS
    ? [...found].sort((a, b) => Number(!!b.dead_letters) - Number(!!a.dead_letters)).slice(0, MOST_TABS) : found;
  if (caller.value && !isAdmin.value) {
    return <Section title="Dead letters" id="dead-letters"><p class="notice">Dead letters are shown to keys with the scope <code>admin</code>: they are of every tenant.</p></Section>;
  }
  return (
    <>
      <Section title="Dead letters" id="dead-letters">
        {having && having.length > MOST_TABS && (
          <div class="filters"><input type="search" aria-label="Find a queue" placeholder={`Find one of ${count(having.length)} queues`} value={search}
            onInput={(event) => setSearch(event.currentTarget.value)} /></div>
        )}
        {!having ? (queues.problem.value ? <Trouble problem={queues.problem.value} what="queues" /> : <Loading />) : (
          <ul class="tabs">
            {tabs.map((one) => (
              <li key={one.name}>
                <a href={to(["dead-letters", one.name])} {...(one.name === chosen ? { "aria-current": "page" as const } : {})}>
                  {one.name} <b class={one.dead_letters ? "bad-text" : "quiet"}>{count(one.dead_letters)}</b>
                </a>
              </li>
            ))}
          </ul>
        )}
        {having && !chosen && <Empty>No message has died.</Empty>}
      </Section>
      {chosen && <Letters key={chosen} queue={chosen} />}
    </>
  );
}
