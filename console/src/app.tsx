// The frame of every view: navigation, key, health, and what is out of order.
import { useEffect, useRef, useState } from "preact/hooks";
import { apiKey, call, caller, forgetKey, isAdmin, keyWanted, useKey as takeKey } from "./api";
import { keepOpen } from "./live";
import { Dialogs } from "./parts/dialog";
import { Fence } from "./parts/fence";
import { Health, TouchLine } from "./parts/health";
import { reloadAll } from "./resource";
import { place, to } from "./router";
import type { KeyShown } from "./types";
import { Api } from "./views/api";
import { DeadLetters } from "./views/dead-letters";
import { FailureView, Failures } from "./views/failures";
import { Overview } from "./views/overview";
import { QueueView } from "./views/queue";
import { HeldUp, HeldUpElsewhere } from "./views/queues";
import { Schedules } from "./views/schedules";
import { Submit } from "./views/submit";
import { TaskView } from "./views/task";
import { Tasks } from "./views/tasks";
import { Workers } from "./views/workers";

const VIEWS: [string, string][] = [
  ["", "Overview"], ["failures", "Failures"], ["tasks", "Tasks"], ["workers", "Workers"],
  ["schedules", "Schedules"], ["dead-letters", "Dead letters"], ["submit", "Submit"], ["api", "API"],
];

function View() {
  const [first = "", second] = place.value.parts;
  switch (first) {
    case "": return <Overview />;
    case "queues": return second ? <QueueView key={second} name={second} /> : <Overview />;
    case "failures": return second ? <FailureView key={second} id={second} /> : <Failures />;
    case "tasks": return second ? <TaskView key={second} id={second} /> : <Tasks />;
    case "workers": return <Workers />;
    case "schedules": return <Schedules />;
    case "dead-letters": return <DeadLetters {...(second ? { queue: second } : {})} />;
    case "submit": return <Submit />;
    case "api": return <Api id={second ?? ""} />;
    default: return <p class="empty">There is no such view. <a href={to([])}>Overview</a></p>;
  }
}

export function App() {
  const [first = ""] = place.value.parts;
  const main = useRef<HTMLElement>(null);
  const title = VIEWS.find(([name]) => name === first)?.[1] ?? (first === "queues" ? "Queue" : "");
  useEffect(() => keepOpen(), []);
  useEffect(() => {
    call<KeyShown>("GET", "/v1/key").then((found) => (caller.value = found), () => undefined);
  }, [apiKey.value]);
  const path = place.value.parts.join("/");
  const before = useRef(path);
  useEffect(() => {
    document.title = `${[place.value.parts[1], title].filter(Boolean).join(" · ")} – Penstock`;
    if (before.current !== path) {
      before.current = path;
      scrollTo(0, 0);
      main.current?.focus();
    }
  }, [path]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>Skip to content</a>
      <TouchLine />
      <div class="frame">
        <header class="top">
          <a class="word" href={to([])}><Mark />Penstock</a>
          <nav aria-label="Views">
            {VIEWS.map(([name, words]) => (
              <a key={name} href={to(name ? [name] : [])} {...(name === first || (first === "queues" && !name) ? { "aria-current": "page" } : {})}>
                {words}
              </a>
            ))}
          </nav>
          <Who />
        </header>
        <main ref={main} id="main" tabIndex={-1}>
          <h1 class="hidden">{title || "Penstock"}</h1>
          {keyWanted.value ? <KeyForm /> : <><Health all={first === ""} held={first === "" ? <HeldUp /> : <HeldUpElsewhere />} /><Fence key={path}><View /></Fence></>}
        </main>
      </div>
      <Dialogs />
    </>
  );
}

function Mark() {
  return (
    <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
      <path d="M3 4h5.5v4.2a3.8 3.8 0 0 0 3.8 3.8H17v4h-5.2A8.8 8.8 0 0 1 3 7.2z" fill="currentColor" />
      <path d="M12.2 4H17v4.4h-4.8z" fill="currentColor" opacity=".35" />
    </svg>
  );
}

function Who() {
  const who = caller.value;
  if (!who) return <p class="who" />;
  return (
    <p class="who">
      <span>{who.name}{who.tenant !== who.name && <> of {who.tenant}</>}</span>
      {!isAdmin.value && <span class="tag">read-only</span>}
      {apiKey.value && <button type="button" class="plain" onClick={forgetKey}>Forget key</button>}
    </p>
  );
}

function KeyForm() {
  const [value, setValue] = useState("");
  const tried = apiKey.value !== "";
  return (
    <form id="key-row" class="key card" onSubmit={(event) => {
      event.preventDefault();
      takeKey(value.trim());
      reloadAll();
    }}>
      <h2>This gateway wants a key</h2>
      {tried && <p class="notice bad" role="alert">The key was not accepted.</p>}
      <label for="key">API key</label>
      <div class="pair">
        <input id="key" type="password" autocomplete="off" spellcheck={false} required value={value}
          onInput={(event) => setValue(event.currentTarget.value)} />
        <button class="primary">Use</button>
      </div>
      <p class="quiet">Kept in this tab alone until it is closed. Live updates use a ticket made from it. To watch, a
        key needs the scope <code>read</code>; to change anything, <code>admin</code>.</p>
    </form>
  );
}
