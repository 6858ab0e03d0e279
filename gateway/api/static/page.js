// Submits demo tasks and watches them over one WebSocket. Everything shown is text, never markup.
const FINAL = new Set(["SUCCESS", "FAILURE", "REVOKED"]);
const $ = (id) => document.getElementById(id);

/** id → { cursor, row, done } of every task submitted from this page. */
const tasks = new Map();
let socket = null;
let retryMs = 250;

async function call(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  if ($("key").value) headers.Authorization = `Bearer ${$("key").value}`;
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (response.status === 401) $("key-row").hidden = false;
  if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`);
  return answer;
}

function complain(error) {
  $("problem").textContent = error ? error.message : "";
  $("problem").hidden = !error;
}

function cell(row, name) {
  const td = row.insertCell();
  td.className = name;
  return td;
}

function addRow(receipt) {
  const row = $("tasks").insertRow(0);
  row.id = receipt.id;
  cell(row, "task").textContent = receipt.task;
  cell(row, "id").textContent = receipt.id;
  cell(row, "state");
  cell(row, "progress");
  cell(row, "result");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Revoke";
  button.addEventListener("click", () => act(() => call("DELETE", `/v1/tasks/${receipt.id}?terminate=true`)));
  cell(row, "action").append(button);
  $("empty").hidden = true;
  tasks.set(receipt.id, { cursor: null, row, done: false });
  show({ id: receipt.id, state: receipt.state });
}

function show(message) {
  const task = tasks.get(message.id);
  if (!task) return;
  const [state, progress, result] = ["state", "progress", "result"].map(
    (name) => task.row.getElementsByClassName(name)[0]);
  task.row.dataset.state = message.state;
  state.textContent = message.state;
  if (message.progress) {
    const { current, total, message: text } = message.progress;
    const bar = progress.firstElementChild || progress.appendChild(document.createElement("progress"));
    if (total) bar.max = total;
    bar.value = current ?? 0;
    bar.title = text ?? "";
  }
  if ("result" in message) result.textContent = JSON.stringify(message.result);
  if (message.truncated) result.textContent = "(too long to show here)";
  if (message.error) result.textContent = `${message.error.type}: ${message.error.message}`;
  if (FINAL.has(message.state)) {
    task.done = true;
    task.row.querySelector("button")?.remove();
  }
}

function showLine(message) {
  const task = tasks.get(message.id);
  if (!task) return;
  const result = task.row.getElementsByClassName("result")[0];
  const lines = result.querySelector("pre") || result.appendChild(document.createElement("pre"));
  lines.textContent += `${message.line}\n`;
}

function hear(event) {
  const message = JSON.parse(event.data);
  const task = tasks.get(message.id);
  if (message.cursor && task) task.cursor = message.cursor;
  if (message.type === "state") show(message);
  else if (message.type === "log") showLine(message);
  else if (message.type === "error") complain(new Error(`${message.code}: ${message.detail}`));
}

function unfinished() {
  return Object.fromEntries([...tasks].filter(([, task]) => !task.done).map(([id, task]) => [id, task.cursor]));
}

function subscribe(wanted) {
  if (Object.keys(wanted).length) socket.send(JSON.stringify({ op: "subscribe", tasks: wanted }));
}

function tell(state, text) {
  $("connection").dataset.state = state;
  $("connection").textContent = text;
}

/** Connect unless that is done or under way; a connection that is lost comes back by itself. */
async function connect() {
  if (socket) return;
  socket = "connecting";
  try {
    const { ticket } = await call("POST", "/v1/tickets", {});
    const url = new URL(`/v1/stream?ticket=${encodeURIComponent(ticket)}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url, "penstock.v1");
  } catch (error) {
    socket = null;
    throw error;
  }
  socket.addEventListener("message", hear);
  socket.addEventListener("open", () => {
    retryMs = 250;
    tell("open", "connected");
    subscribe(unfinished());
  });
  socket.addEventListener("close", () => {
    socket = null;
    tell("closed", "not connected");
    if (Object.keys(unfinished()).length) setTimeout(() => act(connect), retryMs);
    retryMs = Math.min(2 * retryMs, 10_000);
  });
}

async function act(work) {
  try {
    await work();
    complain(null);
  } catch (error) {
    complain(error);
    if (work === connect && Object.keys(unfinished()).length) setTimeout(() => act(connect), retryMs);
  }
}

function submitted(task, read) {
  return (event) => {
    event.preventDefault();
    const kwargs = read(new FormData(event.target));
    act(async () => {
      const receipt = await call("POST", "/v1/tasks", { task, kwargs });
      addRow(receipt);
      if (socket instanceof WebSocket && socket.readyState === WebSocket.OPEN) {
        subscribe({ [receipt.id]: null });
      } else {
        await connect();
      }
    });
  };
}

$("add").addEventListener("submit", submitted("demo.add", (form) => (
  { x: Number(form.get("x")), y: Number(form.get("y")) })));
$("progress").addEventListener("submit", submitted("demo.progress", (form) => (
  { steps: Number(form.get("steps")), delay_s: Number(form.get("delay_s")) })));
$("key-row").addEventListener("submit", (event) => {
  event.preventDefault();
  act(connect);
});
setInterval(() => {
  if (socket instanceof WebSocket && socket.readyState === WebSocket.OPEN) socket.send('{"op":"ping"}');
}, 20_000);
act(connect);
