// The chat page: keeps the conversation, asks POST /chat, shows the answer and every tool call as they come.
// Nothing from a model or a tool is ever parsed as HTML: all of it goes in as text.

const page = Object.fromEntries(
  ["status", "tool-list", "new-chat", "welcome", "examples", "transcript", "composer", "question", "send", "stop"]
    .map((id) => [id, document.getElementById(id)]),
);
const MEMORY = "conversation";
const READY_MS = 10_000;
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

// What the page shows: {role, text, calls?, note?}; the role is user, assistant, error or stopped.
let turns = remembered();
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
  // Pictures may be too much for the store: then the words alone are kept.
  const words = (name, value) => (name === "images" ? undefined : value);
  for (const choice of [undefined, words]) {
    try {
      sessionStorage.setItem(MEMORY, JSON.stringify(turns, choice));
      return;
    } catch {
      // A full or forbidden store costs the memory over a reload, not the chat.
    }
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

/** A card with the call's name and arguments; a call under way has no output yet. */
function drawnCall(call) {
  const isRunning = call.output === undefined;
  const card = element("details", call.is_error ? "call failed" : "call");
  const summary = element("summary");
  summary.append(
    element("span", "name", call.name),
    element("span", "glance", glance(call)),
    isRunning
      ? element("span", "time waiting", "running")
      : element("span", "time", `${call.is_error ? "failed · " : ""}${milliseconds(call.duration_ms)}`),
  );
  const body = element("div", "body");
  body.append(element("h3", "", "Called with"), element("pre", "", shownArguments(call)));
  if (!isRunning) body.append(element("h3", "", "Answered"), element("pre", "", call.output || "(nothing)"));
  card.append(summary, body);
  card.addEventListener("toggle", () => card.open && card.scrollIntoView({ block: "nearest" }));
  return card;
}

/** The pictures of a call, outside of its card: they are what was asked for. */
function drawnPictures(call) {
  return (call.images ?? []).filter(({ media_type }) => PICTURES.has(media_type)).map(({ media_type, data }) => {
    const source = `data:${media_type};base64,${data}`;
    const link = element("a", "picture");
    link.href = source;
    link.download = `picture.${media_type.split("/")[1]}`;
    link.title = "Save this picture";
    const picture = element("img");
    picture.src = source;
    picture.alt = `Picture from ${call.name}`;
    picture.addEventListener("load", scrollDown); // its height is known only then
    link.append(picture);
    return link;
  });
}

function drawn(call) {
  return [drawnCall(call), ...drawnPictures(call)];
}

function milliseconds(duration) {
  if (typeof duration !== "number") return "";
  return duration < 1000 ? `${Math.round(duration)} ms` : `${(duration / 1000).toFixed(1)} s`;
}

function drawnTurn(turn, place) {
  const item = element("li", `turn ${turn.role}`);
  if (turn.role === "user") {
    item.textContent = turn.text;
    return item;
  }
  (turn.calls ?? []).forEach((call) => item.append(...drawn(call)));
  item.append(prose(turn.text));
  if (turn.note) item.append(element("div", "note", turn.note));
  // Of what was answered after all, nothing is to be asked again.
  if (turn.role === "error" || (turn.role === "stopped" && place === turns.length - 1)) {
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

/** The events of a stream: [name, data] each. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

function failed(problem, status) {
  return {
    role: "error",
    text: problem.detail ?? `The service answered with status ${status}.`,
    calls: problem.tool_calls,
    note: problem.request_id ? `Request ${problem.request_id}` : undefined,
  };
}

/** Asks, shows what comes in `live`, and returns the turn as it is kept. */
async function chat(signal, live) {
  const answer = await fetch("/chat", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ messages: messages(), stream: true }),
    signal,
  });
  if (!answer.ok) return failed(await answer.json().catch(() => ({})), answer.status);
  for await (const [name, data] of events(answer.body)) {
    if (name === "text") live.say(data.text);
    else if (name === "tool_call_started") live.begin(data);
    else if (name === "tool_call") live.call(data);
    else if (name === "problem") return failed(data, answer.status);
    else if (name === "answer") return { role: "assistant", text: data.response ?? "", calls: data.tool_calls };
  }
  return { role: "error", text: "The connection broke before the answer was whole." };
}

/** The turn that is being made: its calls, its text so far, and that it goes on. */
function liveTurn() {
  const item = element("li", "turn assistant");
  const waiting = element("div", "waiting", "Working");
  const calls = []; // those that are over
  let begun = null; // the call under way: what it is, its card, and what counts its seconds
  let said = prose("");
  let text = "";
  item.append(said, waiting);
  const moved = (change) => {
    // Whoever has scrolled up to read is left there.
    const isAtEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 40;
    change();
    if (isAtEnd) scrollDown();
  };
  const end = () => {
    if (!begun) return;
    clearInterval(begun.timer);
    begun.card.remove();
    begun = null;
  };
  return {
    item,
    say: (piece) => moved(() => {
      text += piece;
      const now = prose(text);
      said.replaceWith(now);
      said = now;
    }),
    begin: (call) => moved(() => {
      const card = drawnCall(call);
      const time = card.querySelector(".time");
      const since = performance.now();
      const timer = setInterval(() => {
        time.textContent = `running ${Math.round((performance.now() - since) / 1000)} s`;
      }, 1000);
      begun = { call, card, timer, since };
      said.before(card);
      waiting.hidden = true;
    }),
    call: (call) => moved(() => {
      const [card, ...pictures] = drawn(call);
      card.open = begun?.card.open ?? false; // whoever looked into it goes on
      end();
      calls.push(call);
      said.before(card, ...pictures);
      waiting.hidden = false;
    }),
    /** What is left of it where somebody ended it: its calls, and its text so far. */
    stopped: () => {
      const cut = begun && {
        ...begun.call, output: "(stopped)", is_error: true, duration_ms: performance.now() - begun.since,
      };
      return { role: "stopped", text, calls: cut ? [...calls, cut] : calls, note: "Stopped." };
    },
    remove: () => {
      end();
      item.remove();
    },
  };
}

async function ask() {
  running = new AbortController();
  const live = liveTurn();
  page.transcript.append(live.item);
  busy(true);
  scrollDown();
  let turn;
  try {
    turn = await chat(running.signal, live);
  } catch (error) {
    turn = error.name === "AbortError"
      ? live.stopped()
      : { role: "error", text: "The chat service does not answer. Is the stack running?" };
  }
  live.remove();
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
  if (turns.at(-1)?.role === "stopped") turns.pop();
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

if (window.matchMedia("(min-width: 40rem)").matches) {
  page.question.placeholder += "  (Enter sends, Shift+Enter begins a new line)";
}
draw();
showReadiness();
setInterval(showReadiness, READY_MS);
