"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const notes = data.notes.map((note) => ({ ...note, signs: Array.from(note.text), done: false, labels: [] }));
const key = `audit-text ${data.run} ${data.seed} ${notes.length}`;
let at = 0, current = -1, saved = true;
// Who serves this page may keep the labels (`keeper`: notes -> words, or an error); a page alone keeps them in the browser and in a file.
const keeper = globalThis.keeper, fresh = new Set();

// Spans of a note: what is labelled, else what is marked. Offsets are code points.
const spansOf = (note) => {
  const labelled = note.labels.map((one) => ({ ...one, what: one.label }));
  const free = (span) => !labelled.some((one) => one.start < span.end && span.start < one.end);
  const marks = note.marks.map(([start, end, why]) => ({ start, end, why, what: "mark" })).filter(free);
  return [...labelled, ...marks].sort((a, b) => a.start - b.start);
};
const WORDS = { word: "unknown word", number: "digits", date: "date-like", address: "address-like" };

function show() {
  const note = notes[at];
  $("title").textContent = `Note ${at + 1} of ${notes.length}, ${note.stratum}${note.done ? ", done" : ""}`;
  const box = $("text");
  box.replaceChildren();
  const gone = note.replaced.map(([start, end]) => ({ start, end, what: "gone" }));
  const spans = spansOf(note);
  const all = [...spans, ...gone.filter((one) => !spans.some((s) => s.start < one.end && one.start < s.end))].sort((a, b) => a.start - b.start);
  let position = 0;
  for (const span of all) {
    box.append(note.signs.slice(position, span.start).join(""));
    const element = document.createElement("span");
    element.textContent = note.signs.slice(span.start, span.end).join("");
    element.className = span.what;
    if (span.what !== "gone") {
      const index = spans.indexOf(span);
      element.tabIndex = 0;
      element.setAttribute("role", "button");
      const told = span.what === "mark" ? `not labelled, ${WORDS[span.why]}` : span.what;
      element.setAttribute("aria-label", `${element.textContent}: ${told}`);
      element.dataset.index = index;
      element.addEventListener("focus", () => { current = index; });
      element.addEventListener("click", () => { element.focus(); });
    }
    box.append(element);
    position = span.end;
  }
  box.append(note.signs.slice(position).join(""));
  list(note);
  counted();
  $("previous").disabled = at === 0;
  $("next").disabled = at === notes.length - 1;
}

function counted() {
  const done = notes.filter((one) => one.done).length;
  const missed = notes.reduce((sum, one) => sum + one.labels.filter((l) => l.label === "missed").length, 0);
  $("progress").max = notes.length;
  $("progress").value = done;
  $("counts").textContent = `${done} of ${notes.length} notes done, ${missed} missed${saved ? "" : ", not saved"}`;
}

function list(note) {
  const items = note.labels.filter((one) => one.label === "missed").map((one) => {
    const item = document.createElement("li");
    const words = note.signs.slice(one.start, one.end).join("");
    const choice = document.createElement("select");
    choice.setAttribute("aria-label", `What ${words} is`);
    for (const kind of data.kinds) choice.add(new Option(kind, kind, false, kind === one.kind));
    choice.addEventListener("change", () => { one.kind = choice.value; changed(); });
    const away = document.createElement("button");
    away.type = "button";
    away.textContent = "Remove";
    away.setAttribute("aria-label", `Remove the label of ${words}`);
    away.addEventListener("click", () => { note.labels.splice(note.labels.indexOf(one), 1); changed(); show(); $("title").focus(); });
    const name = document.createElement("strong");
    name.textContent = words;
    const row = document.createElement("div");
    row.className = "row";
    row.append(choice, away);
    item.append(name, row);
    return item;
  });
  if (!items.length) {
    const item = document.createElement("li");
    item.textContent = "Nothing so far.";
    items.push(item);
  }
  $("list").replaceChildren(...items);
}

// What a selection covers, in code points of the note; null where nothing of the note is selected.
function selected() {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0), box = $("text");
  if (!box.contains(range.startContainer) || !box.contains(range.endContainer)) return null;
  const before = document.createRange();
  before.selectNodeContents(box);
  before.setEnd(range.startContainer, range.startOffset);
  let start = Array.from(before.toString()).length;
  let end = start + Array.from(range.toString()).length;
  const signs = notes[at].signs;
  while (start < end && /\s/.test(signs[start])) start += 1;
  while (end > start && /\s/.test(signs[end - 1])) end -= 1;
  return start < end ? { start, end } : null;
}

const GUESS = { number: "id", date: "date", address: "email", word: "name" };
function label(what) {
  const note = notes[at], chosen = selected(), spans = spansOf(note);
  const span = chosen || spans[current];
  if (!span) { say("Nothing is chosen. Select words, or go to a marked span with j"); return; }
  put(note, span, what);
  getSelection().removeAllRanges();
  changed();
  show();
  say(`${note.signs.slice(span.start, span.end).join("")}: ${what || "no label"}`);
  const after = spansOf(note).findIndex((one) => one.start >= span.start);
  focus(what && !chosen && after + 1 < spansOf(note).length ? after + 1 : after);
}
function put(note, span, what) {
  note.labels = note.labels.filter((one) => one.end <= span.start || span.end <= one.start);
  if (what) note.labels.push({ start: span.start, end: span.end, label: what, kind: what === "missed" ? span.kind || GUESS[span.why] || "name" : null });
  note.labels.sort((a, b) => a.start - b.start);
}
function focus(index) {
  const element = document.querySelector(`#text [data-index="${index}"]`);
  if (element) element.focus();
}
function step(by) {
  const number = spansOf(notes[at]).length;
  if (!number) { say("No marked span in this note"); return; }
  current = Math.min(Math.max(current + by, 0), number - 1);
  focus(current);
}
function go(to) {
  at = Math.min(Math.max(to, 0), notes.length - 1);
  current = -1;
  show();
  $("title").focus();
  scrollTo(0, 0);
}
function finish() {
  const note = notes[at];
  for (const span of spansOf(note)) if (span.what === "mark") put(note, span, "fine");
  note.done = true;
  changed();
  if (keeper) save();
  const next = notes.findIndex((one, index) => index > at && !one.done);
  go(next >= 0 ? next : at);
  say(next >= 0 ? `Note ${next + 1}` : keeper ? "The last note is done" : "The last note is done. Save the labels");
}
function say(words) { $("status").textContent = words; }

function changed() {
  saved = false;
  fresh.add(notes[at].id);
  if (keeper) return;
  // Offsets and words of labels alone are kept in the browser, no text.
  try { localStorage.setItem(key, JSON.stringify(notes.map(({ id, done, labels }) => ({ id, done, labels })))); } catch { /* not allowed here */ }
}
function take(states) {
  const byId = new Map(states.map((one) => [one.id, one]));
  for (const note of notes) {
    const state = byId.get(note.id);
    if (state) { note.done = state.done; note.labels = state.labels.map(({ start, end, label, kind }) => ({ start, end, label, kind })); }
  }
}
async function keep() {
  const sent = notes.filter((note) => fresh.has(note.id)).map(({ id, done, labels }) => ({ id, done, labels }));
  if (!sent.length) { say("Nothing new to save"); return; }
  fresh.clear();
  try {
    const words = await keeper(sent);
    saved = fresh.size === 0;
    $("problem").hidden = true;
    say(words);
  } catch {
    for (const { id } of sent) fresh.add(id);
    $("problem").hidden = false;
  }
  counted();
}
function save() {
  if (keeper) { keep(); return; }
  const { run, dataset, seed, traced, sizes, language, detectors } = data;
  const out = { format: 1, run, dataset, seed, traced, sizes, language, detectors,
    notes: notes.map(({ id, stratum, text, replaced, done, labels }) => ({ id, stratum, text, replaced: replaced.length, done, labels })) };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(out, null, 1)], { type: "application/json" }));
  link.download = `labels-${run}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  saved = true;
  show();
  say("Labels saved. Keep the file private");
}

$("missed").addEventListener("mousedown", (event) => event.preventDefault());
$("fine").addEventListener("mousedown", (event) => event.preventDefault());
$("clear").addEventListener("mousedown", (event) => event.preventDefault());
const acts = { m: () => label("missed"), f: () => label("fine"), u: () => label(null), d: finish, j: () => step(1), k: () => step(-1),
  n: () => go(at + 1), p: () => go(at - 1), s: save };
$("missed").onclick = acts.m; $("fine").onclick = acts.f; $("clear").onclick = acts.u; $("done").onclick = finish;
$("previous").onclick = acts.p; $("next").onclick = acts.n; $("save").onclick = save;
$("undone").onclick = () => { const to = notes.findIndex((one) => !one.done); go(to >= 0 ? to : at); };
$("adding").addEventListener("submit", (event) => {
  event.preventDefault();
  const note = notes[at], wanted = Array.from($("words").value.trim());
  let found = 0;
  for (let start = 0; wanted.length && start + wanted.length <= note.signs.length; start += 1) {
    if (wanted.every((sign, index) => note.signs[start + index] === sign)) { put(note, { start, end: start + wanted.length }, "missed"); found += 1; start += wanted.length - 1; }
  }
  if (found) { $("words").value = ""; changed(); show(); }
  say(found ? `Labelled ${found} time${found > 1 ? "s" : ""}` : "That text does not stand in the note");
});
$("load").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  try {
    const given = JSON.parse(await file.text());
    if (given.run !== data.run || given.seed !== data.seed) throw new Error();
    take(given.notes);
    saved = true;
    show();
    say("Labels loaded");
  } catch { say("This file holds no labels of this sample"); alert("This file holds no labels of this sample."); }
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if ((event.key === "Enter" || event.key === " ") && event.target.dataset.index !== undefined) { event.preventDefault(); label("missed"); return; }
  if ($("on").checked && acts[event.key]) { event.preventDefault(); acts[event.key](); }
});
addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });

$("dataset").textContent = data.dataset;
$("run").textContent = $("again").textContent = data.run;
$("drawn").textContent = `${notes.length} notes of ${Object.values(data.sizes).reduce((a, b) => a + b, 0).toLocaleString("en")}, seed ${data.seed}`;
$("how").textContent = data.traced ? "" : " (moved dates and surrogates cannot be told any more)";
document.title = `Audit of ${data.dataset}`;
if (keeper) {
  $("sent").textContent = "Labels are kept on the server, for the stewards alone, whenever a note is done.";
  $("loading").hidden = $("then").hidden = true;
  take(data.labelled);
} else try { take(JSON.parse(localStorage.getItem(key) || "[]")); } catch { /* not allowed here */ }
show();
