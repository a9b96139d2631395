// The chat page: keeps the conversation, asks POST /chat, shows the answer and every tool call.
// Nothing from a model or a tool is ever parsed as HTML: all of it goes in as text.

const page = Object.fromEntries(
  ["status", "tool-list", "new-chat", "welcome", "examples", "transcript", "composer", "question", "send", "stop"]
    .map((id) => [id, document.getElementById(id)]),
);
const MEMORY = "conversation";
const READY_MS = 10_000;

let turns = remembered(); // what the page shows: {role, text, calls?, problem?}
let running = null; // the AbortController of the chat in flight

// ---------------------------------------------------------------- memory

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(MEMORY)) ?? [];
  } catch {
    return [];
  }
}

function remember() {
  try {
    sessionStorage.setItem(MEMORY, JSON.stringify(turns));
  } catch {
    // A full or forbidden store costs the memory over a reload, not the chat.
  }
}

// ---------------------------------------------------------------- drawing

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Text with ``` fences as code blocks and `ticks` as code; everything else as it is. */
function prose(text) {
  const holder = element("div", "text");
  text.split(/```[^\n]*\n([\s\S]*?)(?:\n?```|$)/).forEach((part, place) => {
    if (place % 2) {
      holder.append(element("pre", "", part));
      return;
    }
    part.replace(/^\n+|\n+$/g, "").split(/`([^`\n]+)`/).forEach((piece, odd) => {
      if (piece) holder.append(odd % 2 ? element("code", "", piece) : piece);
    });
  });
  return holder;
}

function shownArguments(call) {
  const given = call.arguments ?? {};
  return typeof given.code === "string" ? given.code : JSON.stringify(given, null, 2);
}

/** The arguments on one line, for a closed card. */
function glance(call) {
  const given = call.arguments ?? {};
  if (typeof given.code === "string") return given.code.trim().split("\n")[0];
  return Object.values(given).map((value) => (typeof value === "string" ? value : JSON.stringify(value))).join(", ");
}

function drawnCall(call) {
  const card = element("details", call.is_error ? "call failed" : "call");
  const summary = element("summary");
  summary.append(
    element("span", "name", call.name),
    element("span", "glance", glance(call)),
    element("span", "time", `${call.is_error ? "failed · " : ""}${milliseconds(call.duration_ms)}`),
  );
  const body = element("div", "body");
  body.append(element("h3", "", "Called with"), element("pre", "", shownArguments(call)));
  body.append(element("h3", "", "Answered"), element("pre", "", call.output || "(nothing)"));
  card.append(summary, body);
  return card;
}

function milliseconds(duration) {
  if (typeof duration !== "number") return "";
  return duration < 1000 ? `${Math.round(duration)} ms` : `${(duration / 1000).toFixed(1)} s`;
}

function drawnTurn(turn) {
  const item = element("li", `turn ${turn.role}`);
  if (turn.role === "user") {
    item.textContent = turn.text;
    return item;
  }
  (turn.calls ?? []).forEach((call) => item.append(drawnCall(call)));
  item.append(prose(turn.text));
  if (turn.note) item.append(element("div", "note", turn.note));
  if (turn.role === "error") {
    const again = element("button", "", "Try again");
    again.type = "button";
    again.addEventListener("click", retry);
    item.append(again);
  }
  return item;
}

function draw() {
  page.transcript.replaceChildren(...turns.map(drawnTurn));
  page.welcome.hidden = turns.length > 0;
  scrollDown();
}

function scrollDown() {
  window.scrollTo({ top: document.body.scrollHeight });
}

function fitQuestion() {
  page.question.style.height = "auto";
  page.question.style.height = `${page.question.scrollHeight + 2}px`;
}

// ---------------------------------------------------------------- one chat

function messages() {
  return turns
    .filter((turn) => turn.role === "user" || turn.role === "assistant")
    .filter((turn) => turn.text.trim())
    .map((turn) => ({ role: turn.role, content: turn.text }));
}

async function chat(signal) {
  const answer = await fetch("/chat", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ messages: messages() }),
    signal,
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    return {
      role: "error",
      text: body.detail ?? `The service answered with status ${answer.status}.`,
      calls: body.tool_calls,
      note: body.request_id ? `Request ${body.request_id}` : undefined,
    };
  }
  return { role: "assistant", text: body.response ?? "", calls: body.tool_calls };
}

async function ask() {
  running = new AbortController();
  const waiting = element("li", "turn waiting", "Working");
  page.transcript.append(waiting);
  busy(true);
  scrollDown();
  let turn;
  try {
    turn = await chat(running.signal);
  } catch (error) {
    turn = error.name === "AbortError"
      ? { role: "error", text: "Stopped." }
      : { role: "error", text: "The chat service does not answer. Is the stack running?" };
  }
  waiting.remove();
  running = null;
  turns.push(turn);
  remember();
  draw();
  busy(false);
}

function busy(isBusy) {
  page.send.hidden = isBusy;
  page.stop.hidden = !isBusy;
  page["new-chat"].disabled = isBusy;
  if (!isBusy) page.question.focus();
}

function say(text) {
  if (!text.trim() || running) return;
  turns = turns.filter((turn) => turn.role !== "error");
  turns.push({ role: "user", text });
  page.question.value = "";
  fitQuestion();
  remember();
  draw();
  ask();
}

function retry() {
  if (running) return;
  turns = turns.filter((turn) => turn.role !== "error");
  remember();
  draw();
  ask();
}

// ---------------------------------------------------------------- what the stack can do

async function showReadiness() {
  let state = "down";
  let text = "the chat service does not answer";
  try {
    const answer = await fetch("/ready", { cache: "no-store" });
    const body = await answer.json();
    state = answer.ok ? "ready" : "down";
    text = answer.ok ? "ready" : body.detail;
    if (answer.ok && !page["tool-list"].children.length) await showTools();
  } catch {
    // stays down
  }
  page.status.dataset.state = state;
  page.status.textContent = text;
}

async function showTools() {
  const answer = await fetch("/tools");
  if (!answer.ok) return;
  const { tools } = await answer.json();
  page["tool-list"].replaceChildren(
    ...tools.map((tool) => {
      const item = element("li");
      item.append(element("code", "", tool.name), element("p", "", tool.description.split("\n")[0]));
      return item;
    }),
  );
}

// ---------------------------------------------------------------- wiring

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  say(page.question.value);
});
page.question.addEventListener("input", fitQuestion);
page.question.addEventListener("keydown", (event) => {
  // isComposing: Enter ends the word in an input method, not the question.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    say(page.question.value);
  }
});
page.stop.addEventListener("click", () => running?.abort());
page["new-chat"].addEventListener("click", () => {
  turns = [];
  remember();
  draw();
  page.question.focus();
});
page.examples.addEventListener("click", (event) => {
  if (event.target instanceof HTMLButtonElement) say(event.target.textContent);
});

draw();
showReadiness();
setInterval(showReadiness, READY_MS);
