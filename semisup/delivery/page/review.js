"use strict";
// Names of classes, paths and reasons are only ever set as text: none of them can become markup.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const storageKey = "semisup-review:" + data.key;
const RESERVED = data.audit ? "suxn" : data.naming ? "suxc" : "sux";
const MOST_KEYS = 30;
const MOST_FOUND = 12;
let annotations = new Map(); // row of the image -> {kind, label}
let undoable = []; // {changes: [{row, before}], at, excluded}, the newest last
let excluded = new Set(); // rows of a group of alike images that what is said next is not about
let position = 0;

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

// A class that is called by one key, such as the digit 7, has that key; the others take what is left, in order.
function keysOfClasses() {
  const keys = new Map();
  if (data.classes.length > MOST_KEYS) return keys;
  const free = [..."1234567890abcdefghijklmnopqrstuvwxyz"].filter((key) => !RESERVED.includes(key));
  const take = (name, key) => { keys.set(key, name); free.splice(free.indexOf(key), 1); };
  const rest = data.classes.filter((name) => {
    const own = name.toLowerCase();
    if (!free.includes(own)) return true;
    take(name, own);
    return false;
  });
  for (const name of rest) take(name, free[0]);
  return keys;
}
const fixedKeys = keysOfClasses();

// Classes that are not in the data set yet, in the order in which they were named.
function newNames() {
  return [...new Set([...annotations.values()].filter(({ kind }) => kind === "new").map(({ label }) => label))];
}

// The images that an annotation here is about: in a group of images that look alike, all that are open and left in.
function about() {
  const { group } = data.images[position];
  if (!group || annotations.has(position)) return [position];
  return data.images.flatMap((image, row) =>
    image.group === group && (row === position || !annotations.has(row) && !excluded.has(row)) ? [row] : []);
}

// With too many classes for a key each, 1, 2, 3 are those that this image is likeliest to be of.
function keysNow() {
  if (fixedKeys.size) return fixedKeys;
  const likely = [...new Set([...data.images[position].predicted.map(([name]) => name), data.images[position].given])];
  return new Map(likely.filter((name) => name).map((name, place) => [String(place + 1), name]));
}

function store() {
  try {
    localStorage.setItem(storageKey, JSON.stringify([...annotations]));
  } catch { /* a browser may keep nothing for a file; annotations then live as long as the page */ }
}

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(storageKey) || "[]");
    // Pages of before kept them with `answer` in place of `kind`.
    const entries = kept.map(([row, { kind, answer, label }]) => [row, { kind: kind ?? answer, label }]);
    annotations = new Map(entries.filter(([row]) => row in data.images));
  } catch { annotations = new Map(); }
  const open = data.images.findIndex((_, row) => !annotations.has(row));
  position = open < 0 ? 0 : open;
}

function set(annotation) {
  const rows = about(), count = data.images.length;
  undoable.push({ changes: rows.map((row) => ({ row, before: annotations.get(row) })), at: position, excluded: [...excluded] });
  for (const row of rows) annotations.set(row, annotation);
  excluded.clear();
  store();
  for (let step = 1; step <= count; step++) {
    const next = (position + step) % count;
    if (!annotations.has(next)) { position = next; break; }
  }
  at("search").value = "";
  show();
  window.scrollTo({ top: 0 });
}

const label = (name) => set({ kind: data.classes.includes(name) ? "label" : "new", label: name });
const discard = () => set({ kind: "discard", label: "" });
const none = () => set({ kind: "none", label: "" });

// A name that there is in another case is the class that there is.
function nameClass() {
  const wanted = at("name").value.trim().replace(/\s+/g, " ");
  if (!wanted) return;
  const same = [...data.classes, ...newNames()].find((name) => name.toLowerCase() === wanted.toLowerCase());
  at("name").value = "";
  at("name").blur();
  label(same ?? wanted);
}
const IN_WORDS = { discard: "Left out", none: "None of the classes" };
const inWords = (known) => known.label || IN_WORDS[known.kind];

// Of an audit: do the images up to the last annotated one prove the target? One that nobody could tell counts as wrong,
// and so does one of the sample that is not on the page, for its file is gone.
function proven() {
  if (!data.audit || !annotations.size) return false;
  const last = Math.max(...annotations.keys());
  const bad = data.images.slice(0, last + 1).filter((image, row) => {
    const known = annotations.get(row);
    return !known || known.kind !== "label" || known.label !== image.accepted;
  });
  const seen = data.audit.places[last] + 1, gone = seen - (last + 1);
  return bad.length + gone <= data.audit.allowed[seen];
}

function undo() {
  const last = undoable.pop();
  if (!last) return;
  for (const { row, before } of last.changes) {
    if (before) annotations.set(row, before); else annotations.delete(row);
  }
  position = last.at;
  excluded = new Set(last.excluded);
  store();
  show();
}

function move(step) {
  const count = data.images.length;
  position = (position + step + count) % count;
  excluded.clear();
  at("search").value = "";
  show();
}

// Past all images that are asked about together.
function skip() {
  const rows = about(), count = data.images.length;
  let step = 1;
  while (step < count && rows.includes((position + step) % count)) step++;
  move(step);
}

function classButton(name, key) {
  const button = make("button", name);
  button.type = "button";
  const given = annotations.get(position);
  if (given && given.label === name) button.classList.add("chosen");
  if (key && key !== name.toLowerCase()) button.append(" ", make("kbd", key));
  button.addEventListener("click", () => label(name));
  return button;
}

function matches() {
  const wanted = at("search").value.trim().toLowerCase();
  if (!wanted) return [];
  const first = [], later = [];
  for (const name of [...data.classes, ...newNames()]) {
    const place = name.toLowerCase().indexOf(wanted);
    if (name.toLowerCase() === wanted) first.unshift(name);
    else if (place === 0) first.push(name);
    else if (place > 0) later.push(name);
  }
  return [...first, ...later].slice(0, MOST_FOUND);
}

function showFound() {
  at("found").replaceChildren(...matches().map((name, place) => classButton(name, place ? "" : "Enter")));
}

// The other images of the group, in or out of what is said next.
function showAlike(image, rows) {
  const others = data.images.flatMap((each, row) => image.group && each.group === image.group && row !== position ? [row] : []);
  at("alike").replaceChildren(...others.map((row) => {
    const button = make("button"), picture = make("img"), open = !annotations.has(row), there = rows.includes(row);
    button.type = "button";
    button.title = data.images[row].path;
    button.disabled = !open || annotations.has(position);
    button.setAttribute("aria-pressed", String(there));
    picture.src = data.images[row].src;
    picture.alt = data.images[row].path;
    picture.className = data.images[row].tiny ? "tiny" : "";
    button.append(picture);
    button.addEventListener("click", () => { if (!excluded.delete(row)) excluded.add(row); show(); });
    return button;
  }));
  at("together").hidden = !image.group || annotations.has(position);
  at("together").textContent = rows.length === 1 ? "What you say is about this image alone." :
    "What you say is about these " + rows.length + " images. A click on a small one takes it out.";
}

function show() {
  const image = data.images[position], given = annotations.get(position), checks = image.section === "check";
  at("picture").src = image.src;
  at("picture").className = image.tiny ? "tiny" : "";
  at("picture").alt = image.path;
  at("path").textContent = image.path;
  const rows = about();
  at("naming").hidden = !data.naming || checks;
  at("section").textContent = checks ? "Is this label right?" : rows.length > 1 ? "What are these?" : "What is this?";
  showAlike(image, rows);
  at("section").className = image.section;
  at("reason").textContent = image.reason;
  at("predicted").replaceChildren(...image.predicted.map(([name, probability]) => {
    const line = make("li");
    line.append(make("b", (100 * probability).toFixed(0) + " %"), make("span", name));
    return line;
  }));
  const keyOf = new Map([...keysNow()].map(([key, name]) => [name, key]));
  const shown = [...fixedKeys.size ? data.classes : keyOf.keys(), ...newNames()];
  at("classes").replaceChildren(...shown.map((name) => classButton(name, keyOf.get(name))));
  showFound();
  at("discard").classList.toggle("chosen", Boolean(given) && given.kind === "discard");
  at("annotation").textContent = !given ? "" : given.label ? "Annotated: " + given.label : inWords(given);
  at("none").classList.toggle("chosen", Boolean(given) && given.kind === "none");
  at("enough").textContent = !proven() ? "" : "That is enough: at least " + +(100 * data.audit.target).toFixed(2) +
    " % of the accepted labels are right (95 % sure). Stop here and save, or go on for a narrower interval.";
  at("undo").disabled = undoable.length === 0;
  at("progress").max = data.images.length;
  at("progress").value = annotations.size;
  at("count").textContent = annotations.size + " of " + data.images.length;
  at("save").disabled = annotations.size === 0;
  [...document.querySelectorAll("#strip button")].forEach((button, row) => {
    const known = annotations.get(row);
    button.className = known ? "done" : "";
    button.setAttribute("aria-current", String(row === position));
    button.querySelector("span").textContent = known ? inWords(known) : "";
  });
}

function buildStrip() {
  const titles = {
    audit: "Accepted labels, drawn at random", label: "To be labeled", check: "Labels that look wrong",
    name: "Of none of the classes, it seems, and alike",
  };
  let section = "", group;
  data.images.forEach((image, row) => {
    if (image.section !== section) {
      section = image.section;
      group = make("div");
      at("strip").append(make("h2", titles[section]), group);
    }
    const button = make("button"), picture = make("img");
    button.type = "button";
    button.title = image.path;
    picture.src = image.src;
    picture.alt = "Image " + (row + 1);
    picture.className = image.tiny ? "tiny" : "";
    button.append(picture, make("span"));
    button.addEventListener("click", () => { position = row; show(); window.scrollTo({ top: 0 }); });
    group.append(button);
  });
}

function csv() {
  const runs = (text) => /^'*[=+\-@\t\r\n＝＋－＠]/.test(text) && !/^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/.test(text);
  const cell = (text) => quoted(runs(text) ? "'" + text : text);  // or a spreadsheet takes it for a formula
  const quoted = (text) => /[",\r\n]|^\s|\s$/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  const lines = [["id", "path", "annotation", "label", "given", ...(data.audit ? ["audit"] : [])]];
  data.images.forEach((image, row) => {
    const known = annotations.get(row);
    if (known) lines.push([image.id, image.path, known.kind, known.label, image.given, ...(data.audit ? [data.audit.name] : [])]);
  });
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

function save() {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === at("search")) {
    if (event.key === "Escape") { at("search").value = ""; at("search").blur(); showFound(); }
    if (event.key === "Enter" && matches().length) { const [name] = matches(); at("search").blur(); label(name); }
    return;
  }
  if (event.target === at("name")) {
    if (event.key === "Escape") { at("name").value = ""; at("name").blur(); }
    return;
  }
  const name = keysNow().get(event.key.toLowerCase());
  const act = {
    ArrowRight: () => move(1), ArrowLeft: () => move(-1), s: skip, x: discard, ...(data.audit ? { n: none } : {}), u: undo, Backspace: undo,
    "/": () => at("search").focus(), ...(data.naming ? { c: () => at("name").focus() } : {}),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (name === undefined && !act) return;
  event.preventDefault();
  if (name !== undefined) label(name); else act();
});
at("search").addEventListener("input", showFound);
at("save").addEventListener("click", save);
at("discard").addEventListener("click", discard);
at("none").addEventListener("click", none);
at("none").hidden = !data.audit;
at("skip").addEventListener("click", skip);
at("undo").addEventListener("click", undo);
at("finder").hidden = data.classes.length <= 10;
at("naming").addEventListener("submit", (event) => { event.preventDefault(); nameClass(); });
buildStrip();
restore();
show();
