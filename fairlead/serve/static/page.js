// The one script of the pages. Everything works without it; with it, pages are live and drafts are kept.
//
// Live: an event from /events says that something happened; we fetch this same page again and bring each
// element marked data-live up to date by comparing the two trees. Nodes that did not change are not touched,
// so focus, selection, open forms and their text stay. The element at the top of the window is held in place.
// (Rejected: fragments pushed by the server, a second way to render each part; a library, 13 KB for this.)

const root = document.documentElement, body = document.body;
root.classList.add("js");
const $ = (id) => document.getElementById(id);

// ---- comparing trees

const mine = (n) => n.nodeType === 1 && (n.id === "s-compose" || n.closest("[data-mine]"));
const OURS = new Set(["open", "data-on"]); // attributes that belong to the reader, not to the server

function morph(old, now) {
  for (const { name, value } of now.attributes)
    if (old.getAttribute(name) !== value && !(OURS.has(name) && old.nodeName === "DETAILS")) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    if (!now.hasAttribute(name) && !OURS.has(name)) old.removeAttribute(name);
  const keyed = new Map();
  for (const child of old.children) if (child.id) keyed.set(child.id, child);
  let at = old.firstChild;
  for (const next of [...now.childNodes]) {
    while (at && mine(at)) at = at.nextSibling;
    const known = next.id ? keyed.get(next.id) : at && at.nodeType === next.nodeType && at.nodeName === next.nodeName && !at.id ? at : null;
    if (!known) { old.insertBefore(next, at); continue; }
    if (known === at) at = at.nextSibling;
    else old.insertBefore(known, at);
    if (next.nodeType !== 1) { if (known.data !== next.data) known.data = next.data; }
    else if (!["TEXTAREA", "TEMPLATE"].includes(next.nodeName) && !known.isEqualNode(next)) morph(known, next);
  }
  while (at) { const gone = at; at = at.nextSibling; if (!mine(gone) && !typing(gone)) gone.remove(); }
}

const typing = (n) => n.nodeType === 1 && [...n.querySelectorAll("textarea")].some((t) => t.value.trim());

// ---- holding the page still

function still(change) {
  const y = root.querySelector(".bar").offsetHeight + 60;
  let held = document.elementsFromPoint(innerWidth / 3, y).find((n) => n.closest("[id]"))?.closest("[id]");
  const was = held?.getBoundingClientRect().top, box = document.querySelector(".side > .scroll");
  const end = box && box.scrollHeight > box.clientHeight && box.scrollTop + box.clientHeight > box.scrollHeight - 40;
  change();
  if (held?.isConnected && scrollY > 0) scrollBy({ top: held.getBoundingClientRect().top - was, behavior: "instant" });
  if (end) box.scrollTop = box.scrollHeight;
}

// ---- live

let last = +body.dataset.seq, busy = false, again = false, timer, held = null;
const topics = (body.dataset.topics || "").split(" ").filter(Boolean);

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(body.dataset.liveUrl || location.href.split("#")[0], { headers: { accept: "text/html" } });
    if (answer.ok && !answer.redirected) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch { /* offline: the stream comes back and asks again */ }
  busy = false;
  if (again) { again = false; refresh(); }
}

function show(page) {
  const seq = +page.body.dataset.seq;
  if (seq < last) return;
  const fresh = [...page.querySelectorAll("[data-live]")].filter((n) => $(n.id) && !same($(n.id), n));
  // A feed that is being read is not moved: what is new waits behind a pill.
  if (fresh.length && $("turn") && scrollY > 80 && held !== "go") { held = page; pill(page); return; }
  held = null;
  $("pill").hidden = true;
  const before = new Set([...document.querySelectorAll("article.post")].map((n) => n.id));
  still(() => fresh.forEach((n) => morph($(n.id), n)));
  const news = [...document.querySelectorAll("article.post[id^=p-]")].filter((n) => !before.has(n.id));
  if (news.length) $("said").textContent = `New: ${news.at(-1).getAttribute("aria-label")}`;
  tick(); drafts();
}

function same(a, b) { // without the times, which pass by themselves
  const text = (n) => { const c = n.cloneNode(true); c.querySelectorAll("time").forEach((t) => t.textContent = ""); c.querySelectorAll("details").forEach((d) => d.open = false); c.querySelectorAll("[data-mine], #s-compose").forEach((m) => m.remove()); return c.innerHTML.replace(/\s+/g, " "); };
  return text(a) === text(b);
}

function pill(page) {
  const count = [...page.querySelectorAll("#turn > .sheet > li, #activity li")].filter((n) => n.id && !$(n.id)).length;
  $("pill").textContent = count ? `${count} new` : "Updated";
  $("pill").hidden = false;
}

$("pill").addEventListener("click", () => {
  const page = held;
  held = "go";
  scrollTo({ top: 0 });
  if (page) show(page);
  $("main").focus({ preventScroll: true });
});

function heard(event) {
  last = Math.max(last, +event.lastEventId || 0);
  let about;
  try { about = JSON.parse(event.data); } catch { return; }
  const diff = about.diff ?? about.payload?.diff;
  if (topics.length && diff != null && !topics.includes("D" + diff)) return;
  clearTimeout(timer);
  timer = setTimeout(refresh, 60);
}

const KINDS = ["diff.submitted", "diff.versioned", "diff.state", "post.added", "thread.state", "queue.changed", "trunk.moved", "worker.registered"];
let stream;
function connect() {
  const on = (value, words) => { const n = $("live"); if (n) { n.dataset.on = value; n.title = words; n.lastChild.textContent = value === "1" ? "Live" : "Offline"; } };
  stream = new EventSource("/events?after=" + last);
  stream.onopen = () => on("1", "New posts appear by themselves");
  stream.onerror = () => on("0", "Not connected; trying again");
  for (const kind of KINDS) stream.addEventListener(kind, heard);
}
if (body.dataset.seq) { // a page out of sight holds no connection; it catches up when it is seen again
  connect();
  addEventListener("visibilitychange", () => { stream.close(); if (!document.hidden) connect(); });
  addEventListener("pagehide", () => stream.close());
  addEventListener("pageshow", (e) => { if (e.persisted) connect(); });
}

// ---- times that pass

function tick() {
  for (const n of document.querySelectorAll("time")) {
    const s = (Date.now() - Date.parse(n.dateTime)) / 1000;
    const text = s < 45 ? "just now" : s < 3570 ? `${Math.max(1, Math.round(s / 60))} min ago` : s < 79200 ? `${Math.max(1, Math.round(s / 3600))} h ago` : "";
    if (text && n.textContent !== text) n.textContent = text;
  }
}
setInterval(tick, 20000);

// ---- drafts: kept at each pause, dropped when the server has taken them

const key = (t) => "draft:" + t.dataset.draft, ready = new WeakSet();
function drafts() {
  for (const t of document.querySelectorAll("textarea[data-draft]")) {
    if (ready.has(t) || !t.dataset.draft) continue;
    ready.add(t);
    const kept = localStorage.getItem(key(t));
    if (kept && !t.value) { t.value = kept; const d = t.closest("details.reply"); if (d) d.open = true; }
  }
}
// A post that was taken leads to its own anchor; anything else (an error, no network) leaves the draft.
const [sent, place] = (sessionStorage.getItem("sent") || "").split(" ");
sessionStorage.removeItem("sent");
if (sent && location.hash !== place && /^#[pl]-\w{26}$/.test(location.hash)) localStorage.removeItem(sent);
drafts();
addEventListener("input", ({ target: t }) => {
  if (!t.dataset?.draft) return;
  if (t.value.trim()) localStorage.setItem(key(t), t.value); else localStorage.removeItem(key(t));
});
addEventListener("submit", ({ target: f }) => {
  const t = f.querySelector?.("textarea[data-draft]");
  if (t) sessionStorage.setItem("sent", key(t) + " " + location.hash);
});
addEventListener("keydown", (e) => {
  if (e.key === "Enter" && (e.metaKey || e.ctrlKey) && e.target.form) e.target.form.querySelector("button[type=submit]").click();
  if (e.key === "Escape") e.target.closest?.("[data-mine]")?.querySelector("[data-close]")?.click();
});

// ---- a comment on a line, copying, replies

addEventListener("click", (e) => {
  const n = e.target.closest?.("a, button, summary");
  if (!n) return;
  if (n.dataset.copy !== undefined) navigator.clipboard?.writeText(n.dataset.copy).then(() => { $("said").textContent = "Copied"; n.classList.add("done"); setTimeout(() => n.classList.remove("done"), 1200); });
  if (n.matches(".code .n a[href^='?at=']") && $("inline-form") && !e.metaKey && !e.ctrlKey) { e.preventDefault(); compose(n); }
  if (n.matches("[data-close]") && n.closest("[data-mine]")) {
    e.preventDefault();
    const row = n.closest("[data-mine]"), line = row.previousElementSibling;
    row.remove(); line?.querySelector?.(".n a")?.focus();
  }
  if (n.matches("details.reply > summary")) setTimeout(() => n.parentNode.querySelector("textarea").focus());
});

function compose(link) {
  const row = link.closest("tr"), line = link.textContent, gone = row.classList.contains("del");
  const path = row.closest(".file").dataset[gone ? "old" : "path"];
  history.replaceState(null, "", "#" + row.id);
  document.querySelectorAll("[data-mine]").forEach((n) => n.remove());
  const holder = document.createElement("tr");
  holder.className = "say"; holder.dataset.mine = "";
  const cell = holder.insertCell(); cell.colSpan = 3;
  cell.append($("inline-form").content.cloneNode(true));
  const form = cell.firstElementChild, set = (name, value) => form.elements[name].value = value;
  set("path", path); set("line", line); set("side", gone ? "old" : "new");
  const text = form.elements.body;
  text.dataset.draft = $("composer").querySelector("textarea").dataset.draft + "." + row.id;
  text.setAttribute("aria-label", `Comment on ${path}:${line}`);
  row.after(holder);
  drafts(); text.focus();
}
