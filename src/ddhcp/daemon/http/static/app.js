// The dashboard: asks the API now and then, and listens to the stream of events.

import { byId, count, duration, element, plain, round, setText, sparkline } from "./dom.js";
import { PoolMap } from "./map.js";

const API = "api/v1/";
const STATUS_EVERY_MS = 2000, LISTS_EVERY_MS = 6000, HISTORY_EVERY_MS = 10000;
const AFTER_EVENT_MS = 400; // what an event changes is asked for this much later, once for several events
const ASK_WITHIN_MS = 8000, RECONNECT_MS = 2000;
const MAX_EVENTS = 300, PAGE = 100, MAX_ROWS = 2000;

async function ask(path, options = {}) {
  const answer = await fetch(API + path, { ...options, signal: AbortSignal.timeout(ASK_WITHIN_MS), cache: "no-store" });
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.error?.text ?? `HTTP ${answer.status}`), { status: answer.status });
  return value;
}

const map = new PoolMap((query) => ask(`map?${query}`));

// --- status ---------------------------------------------------------------------------------------

let status = null, lastCounters = null;

function pill(id, state, text) {
  byId(id).dataset.state = state;
  setText(id, text);
}

async function refreshStatus() {
  try {
    status = await ask("status");
  } catch {
    pill("health", "failing", "no answer");
    showProblems([{ level: "failing", name: "no-answer", text: "The daemon does not answer. What is shown is what was known last; this page goes on as soon as it is back." }]);
    return;
  }
  const { pool, blocks, leases, peers } = status;
  map.setPool(pool);
  setText("node", status.address ?? status.node_id);
  setText("pool", `${pool.network} in blocks of ${pool.block_size}`);
  document.title = `${status.health === "ok" ? "" : "⚠ "}ddhcp ${status.address ?? ""}`;
  const state = status.stopping ? "stopping" : status.learning ? "learning" : status.health === "ok" ? "healthy" : status.health;
  pill("health", status.stopping || status.learning ? "warning" : status.health, state);
  showProblems(status.problems);
  setText("card-leases", count(leases.leased));
  setText("sub-leases", `${count(leases.free)} free${leases.waiting ? `, ${count(leases.waiting)} waiting` : ""}`);
  setText("card-blocks", count(blocks.ours));
  setText("sub-blocks", `${count(pool.blocks - blocks.free)} of ${count(pool.blocks)} taken`);
  setText("card-peers", count(peers.known));
  setText("sub-peers", peers.known ? `${count(peers.ddhcp)} ddhcp, ${count(peers.classic)} classic` : "nobody heard yet");
  const counters = { at: performance.now(), instance: status.instance, requests: status.statistics["dhcp.recv_pkg"] ?? 0, naks: status.statistics["dhcp.send_nak"] ?? 0 };
  if (lastCounters && lastCounters.instance === counters.instance) {
    const seconds = (counters.at - lastCounters.at) / 1000;
    setText("card-rate", round(Math.max(0, (counters.requests - lastCounters.requests) / seconds)));
  }
  setText("sub-rate", `${count(counters.requests)} in all, ${count(counters.naks)} refused`);
  lastCounters = counters;
  setText("version", `ddhcp ${status.version}, up ${duration(status.uptime_s)}`);
}

function showProblems(problems) {
  const key = JSON.stringify(problems.map((p) => p.text));
  if (byId("problems").dataset.key === key) return; // else a screen reader would hear it again and again
  byId("problems").dataset.key = key;
  byId("problems").replaceChildren(...problems.map((problem) =>
    element("p", { class: "problem", "data-level": problem.level }, element("strong", {}, `${problem.level}: `), element("span", {}, plain(problem.text)))));
}

async function refreshHistory() {
  const { samples, every_s: every } = await ask("history");
  const series = (name) => samples.map((sample) => [sample.time, sample[name]]);
  sparkline(byId("spark-leases"), series("leased"), "Leases");
  sparkline(byId("spark-blocks"), series("ours"), "Blocks of this node");
  sparkline(byId("spark-peers"), series("peers"), "Other nodes");
  const rates = samples.slice(1).map((sample, i) => {
    const seconds = sample.time - samples[i].time, requests = sample.requests - samples[i].requests;
    return [sample.time, requests < 0 || seconds > 3 * every ? null : requests / seconds];
  });
  sparkline(byId("spark-rate"), rates, "Requests per second");
}

// --- leases ---------------------------------------------------------------------------------------

let search = "", nextLease = null, shownLeases = 0, known = null;

async function leasePage(after, limit) {
  const query = new URLSearchParams({ limit });
  if (search) query.set("search", search);
  if (after) query.set("after", after);
  return ask(`leases?${query}`);
}

async function refreshLeases() {
  const wanted = search;
  const rows = [];
  let answer = { next: null };
  do { // as many as are shown, so that a list that was unfolded stays so
    answer = await leasePage(answer.next, Math.min(1000, Math.max(PAGE, shownLeases - rows.length)));
    rows.push(...answer.leases);
  } while (answer.next && rows.length < Math.max(PAGE, shownLeases));
  if (wanted !== search) return;
  showLeases(rows, answer.next, true);
}

function showLeases(rows, next, replace) {
  const made = rows.map(leaseRow);
  const before = known;
  known = new Map(replace ? [] : known);
  rows.forEach((row, i) => {
    known.set(row.address, row.mac + row.state + row.at);
    if (before && !search && before.get(row.address) !== row.mac + row.state + row.at) made[i].classList.add("fresh");
  });
  const focused = replace ? document.activeElement?.dataset?.explain : undefined;
  if (replace) byId("leases").replaceChildren(...made); else byId("leases").append(...made);
  if (focused) byId("leases").querySelector(`[data-explain="${CSS.escape(focused)}"]`)?.focus();
  shownLeases = byId("leases").children.length;
  nextLease = next;
  byId("more").hidden = !next || shownLeases >= MAX_ROWS;
  byId("leases-empty").hidden = shownLeases > 0;
  setText("leases-empty", search ? "No lease matches the search." : "This node has no leases yet. A client that asks for an address appears here at once.");
}

function explainButton(subject, text = subject) {
  const button = element("button", { type: "button", class: "plain mono", "data-explain": subject, title: "Explain" }, plain(text));
  button.addEventListener("click", () => explain(subject));
  return button;
}

function leaseRow(row) {
  const left = ["leased", "offered", "kept", "declined"].includes(row.state) ? duration(row.expires_in_s) : "–";
  return element("tr", {},
    element("td", {}, explainButton(row.address)), element("td", {}, plain(row.hostname)),
    element("td", { class: "wide" }, explainButton(row.mac)),
    element("td", {}, element("span", { class: "tag", "data-state": row.state }, row.state)),
    element("td", { class: row.at ? "mono" : "quiet", title: row.at ? "in the realm of another node" : "in this node's realm" }, row.at ? plain(row.at) : "here"),
    element("td", { class: "num" }, left));
}

byId("search-form").addEventListener("submit", (event) => event.preventDefault());
let typing = 0;
byId("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    search = byId("search").value.trim();
    shownLeases = 0;
    refreshLeases().catch(() => {});
  }, 200);
});
byId("more").addEventListener("click", async () => {
  const { leases, next } = await leasePage(nextLease, PAGE);
  showLeases(leases, next, false);
});

// --- peers ----------------------------------------------------------------------------------------

async function refreshPeers() {
  const { peers, left_out: leftOut } = await ask("peers?limit=200");
  byId("peers").replaceChildren(...peers.map((peer) => element("tr", {},
    element("td", { class: "mono", title: `node id ${peer.node_id}` }, plain(peer.address)),
    element("td", {}, element("span", { class: "tag", "data-state": peer.kind }, peer.software ? plain(peer.software) : peer.kind)),
    element("td", { class: "num" }, `${duration(peer.heard_ago_s)} ago`),
    element("td", { class: "num wide" }, duration(peer.refresh_s)),
    element("td", { class: "num" }, peer.loss === null ? "–" : `${Math.round(peer.loss * 100)} %`))));
  byId("peers-empty").hidden = peers.length > 0 && !leftOut;
  setText("peers-empty", leftOut ? `${count(leftOut)} more are not shown.` : "No other node was heard. This node has the pool to itself.");
}

// --- events ---------------------------------------------------------------------------------------

const seen = new Set();
let isPaused = false, waitingEvents = [], newest = 0, source = null;

function addEvents(events, instance) {
  const fresh = events.filter((event) => !seen.has(`${instance}-${event.seq}`));
  for (const event of fresh) seen.add(`${instance}-${event.seq}`);
  if (!fresh.length) return;
  newest = Math.max(newest, ...fresh.map((event) => event.seq));
  if (isPaused) { waitingEvents.push(...fresh); waitingEvents = waitingEvents.slice(-MAX_EVENTS); setText("pause", `Go on (${waitingEvents.length})`); return; }
  const list = byId("events");
  list.prepend(...fresh.map(eventLine).reverse());
  while (list.children.length > MAX_EVENTS) list.lastElementChild.remove();
  byId("events-empty").hidden = true;
  if (seen.size > 20 * MAX_EVENTS) seen.clear();
}

const few = (values) => values.slice(0, 8).join(", ") + (values.length > 8 ? ` and ${values.length - 8} more` : "");

function eventLine(event) {
  const at = new Date(event.time * 1000);
  const fields = Object.entries(event.fields).map(([name, value]) => `${plain(name)} ${plain(Array.isArray(value) ? few(value) : value)}`);
  return element("li", { "data-level": event.level },
    element("time", { datetime: at.toISOString() }, at.toLocaleTimeString("en-GB")), element("strong", {}, plain(event.event)),
    element("span", { class: "fields" }, fields.join(" · ")));
}

function listen() {
  source?.close();
  source = new EventSource(`${API}events/stream`);
  source.onopen = async () => {
    pill("link", "ok", "live");
    try { // what happened while we were away, or before we came
      const { events, instance } = await ask("events?limit=100");
      addEvents(events, instance);
    } catch { /* the stream itself goes on */ }
    refreshAll();
  };
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    addEvents([event], message.lastEventId.split("-")[0]);
    if (/lease|address|block|client|peer|learning|release|decline/.test(event.event)) refreshSoon();
  };
  source.onerror = () => {
    pill("link", "failing", "reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, RECONNECT_MS);
  };
}

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  setText("pause", isPaused ? "Go on" : "Pause");
  if (!isPaused) {
    const list = byId("events");
    list.prepend(...waitingEvents.map(eventLine).reverse());
    waitingEvents = [];
    while (list.children.length > MAX_EVENTS) list.lastElementChild.remove();
  }
});
byId("only-warnings").addEventListener("change", (event) => byId("events").classList.toggle("warnings-only", event.target.checked));

// --- why ------------------------------------------------------------------------------------------

let explained = null;

function decisionLine(row) {
  const often = row.times > 1 ? ` (${row.times} times)` : "";
  const about = row.address ? ` for ${row.address}` : "";
  const why = row.why ? `: ${row.why}` : "";
  return element("li", {}, element("span", { class: "quiet" }, `${duration(row.ago_s)} ago `),
    element("span", { class: "mono" }, plain(row.mac)), ` ${row.message}${about} ${row.outcome}${often}${why}`);
}

async function explain(subject) {
  explained = subject;
  setText("why-title", plain(subject));
  byId("why-list").replaceChildren(element("li", { class: "quiet" }, "asking…"));
  byId("release").hidden = byId("past").hidden = true;
  setText("release-answer", "");
  if (!byId("why").open) byId("why").showModal();
  try {
    const found = await ask(`explain/${encodeURIComponent(subject)}`);
    const lines = found.because.map((line) => element("li", {}, plain(line)));
    byId("why-list").replaceChildren(...lines);
    byId("past-list").replaceChildren(...found.decisions.toReversed().map(decisionLine));
    byId("past").hidden = found.decisions.length === 0;
    byId("release").hidden = found.lease?.state !== "leased";
    byId("release").dataset.address = found.lease?.address ?? "";
  } catch (error) {
    byId("why-list").replaceChildren(element("li", {}, plain(error.message)));
  }
}

byId("why-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const subject = byId("subject").value.trim();
  if (subject) explain(subject);
});

byId("release").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask(`leases/${encodeURIComponent(byId("release").dataset.address)}`, { method: "DELETE", headers: { authorization: `Bearer ${byId("token").value}` } });
    await explain(explained);
    setText("release-answer", "The lease has ended.");
    refreshSoon();
  } catch (error) {
    setText("release-answer", plain(error.message));
  }
});

// --- looking again --------------------------------------------------------------------------------

const quietly = (action) => action().catch(() => {}); // refreshStatus says that the daemon is away
let soon = 0;

function refreshSoon() {
  if (soon) return;
  soon = setTimeout(() => { soon = 0; refreshAll(); }, AFTER_EVENT_MS);
}

async function refreshAll() {
  await quietly(refreshStatus);
  await Promise.all([quietly(refreshLeases), quietly(refreshPeers), quietly(() => map.refresh())]);
}

function every(milliseconds, action) {
  setInterval(() => { if (!document.hidden) quietly(action); }, milliseconds);
}

const themes = matchMedia("(prefers-color-scheme: dark)");
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  map.repaint();
}
let chosenTheme = null;
try { chosenTheme = localStorage.getItem("theme"); } catch { /* storage is off: the system's theme it is */ }
setTheme(chosenTheme ?? (themes.matches ? "dark" : "light"));
themes.addEventListener("change", () => { if (!chosenTheme) setTheme(themes.matches ? "dark" : "light"); });
byId("theme").addEventListener("click", () => {
  chosenTheme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", chosenTheme); } catch { /* for this visit only */ }
  setTheme(chosenTheme);
});

byId("zoom-all").disabled = byId("zoom-out").disabled = true;
every(STATUS_EVERY_MS, refreshStatus);
every(LISTS_EVERY_MS, () => Promise.all([refreshLeases(), refreshPeers(), map.refresh()]));
every(HISTORY_EVERY_MS, refreshHistory);
document.addEventListener("visibilitychange", () => { if (!document.hidden) { refreshAll(); quietly(refreshHistory); } });
refreshAll();
quietly(refreshHistory);
listen();
