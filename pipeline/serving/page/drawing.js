"use strict";
const paper = find("paper"), pen = paper.getContext("2d", {willReadFrequently: true}), seen = find("seen");
const SAMPLES = {
  2: [[82, 98], [92, 70], [122, 50], [160, 52], [186, 76], [186, 110], [164, 146], [124, 186], [84, 226], [204, 226]],
  5: [[192, 52], [106, 52], [96, 130], [130, 114], [170, 124], [192, 160], [180, 204], [140, 230], [88, 214]],
  7: [[74, 64], [206, 64], [136, 236]],
};
let busy = false, stale = false;
let strokes = [], stroke = null, picture = null; // points on the paper; the stroke being drawn; a file in their place

function describe(said) {
  describeModel(said);
  find("view").hidden = false;
  [seen.width, seen.height] = [model.width, model.height];
  const known = Object.entries(SAMPLES).filter(([name]) => model.class_names.includes(name));
  known.forEach(([name, points]) => {
    const button = element("button", {type: "button", "aria-label": `Sample ${name}`}, element("svg", {viewBox: "0 0 280 280"}, element("polyline", {points: points.join(" ")})));
    button.addEventListener("click", () => keep([points]));
    find("samples").append(button);
  });
  find("samples").hidden = !known.length;
}

function show(said) {
  showAnswer(said);
  if (!said) return;
  const image = new ImageData(seen.width, seen.height);
  said.pixels.flat().forEach((value, index) => image.data.set([255, 255, 255, value], 4 * index));
  seen.getContext("2d").putImageData(image, 0, 0);
}

function scan(part) { // moves the lines on the paper and on the model's image below the rows that were read
  const [onPaper, onSeen] = document.querySelectorAll(".scan"), rows = part * model.height, place = model.reads_rows ? placeOnPaper(rows) : null;
  onSeen.hidden = !model.reads_rows;
  onPaper.hidden = place === null;
  onSeen.style.transform = `translateY(${100 * rows / model.height - 100}%)`;
  onPaper.style.transform = `translateY(${100 * place - 100}%)`;
}

function placeOnPaper(rows) { // the place on the paper, from 0 to 1, where so many rows of the model's image end; null: not known
  if (!model.boxed) return rows / model.height;
  if (picture) return null;
  const inked = answer.pixels.flatMap((row, index) => (row.some(Boolean) ? [index] : []));
  const {data} = pen.getImageData(0, 0, paper.width, paper.height), drawn = [];
  for (let y = 0; y < paper.height; y++) if (data.subarray(4 * y * paper.width, 4 * (y + 1) * paper.width).some(Boolean)) drawn.push(y);
  if (!inked.length || !drawn.length) return null;
  const part = (rows - inked[0]) / (inked.at(-1) + 1 - inked[0]);
  return Math.min(1, Math.max(0, (drawn[0] + part * (drawn.at(-1) + 1 - drawn[0])) / paper.height));
}

async function ask() { // one request at a time; the newest drawing is sent next
  if (busy) { stale = true; return; }
  [busy, stale] = [true, false];
  find("bars").setAttribute("aria-busy", "true");
  const asked = version;
  try {
    const body = picture ?? await new Promise((done) => paper.toBlob(done, "image/png"));
    const said = await answered("drawing", {method: "POST", headers: {"Content-Type": body.type || "image/png"}, body});
    if (asked === version) show(said);
  } catch (problem) {
    if (asked === version) { show(null); say(problem.message, "problem"); }
  }
  busy = false;
  if (stale) ask();
  else find("bars").setAttribute("aria-busy", "false");
}

function ink(from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

function draw(event) {
  const box = paper.getBoundingClientRect(), scale = paper.width / box.width;
  for (const point of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
    const place = [(point.clientX - box.left) * scale, (point.clientY - box.top) * scale];
    ink(stroke.at(-1) ?? place, place);
    stroke.push(place);
  }
  ask();
}

function showTools() {
  const drawn = strokes.length > 0 || picture !== null;
  document.body.classList.toggle("drawn", drawn);
  paper.classList.toggle("picture", picture !== null);
  find("hint").textContent = "draw, drop or paste";
  for (const button of [find("undo"), find("clear")]) button.disabled = !drawn;
}

function keep(kept, file = null) { // these strokes, or a picture; earlier answers are ignored from now on
  [version, stale, strokes, stroke, picture] = [version + 1, false, kept, null, file];
  pen.clearRect(0, 0, paper.width, paper.height);
  for (const points of strokes) points.forEach((place, index) => ink(points[index - 1] ?? place, place));
  showTools();
  if (strokes.length || picture) ask();
  else show(null);
}

async function open(file) {
  if (!file) return;
  keep([], file);
  const asked = version, image = await createImageBitmap(file).catch(() => null);
  if (asked !== version) return;
  if (!image) { // the model may read formats that the browser cannot show
    document.body.classList.remove("drawn");
    find("hint").textContent = file.name;
    return;
  }
  const scale = Math.min(paper.width / image.width, paper.height / image.height), [width, height] = [image.width * scale, image.height * scale];
  pen.drawImage(image, (paper.width - width) / 2, (paper.height - height) / 2, width, height);
}

const undo = () => keep(strokes.slice(0, -1)), clear = () => keep([]);

Object.assign(pen, {lineWidth: 24, lineCap: "round", lineJoin: "round", strokeStyle: "white"});
paper.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button !== 0) return;
  if (picture) clear();
  paper.setPointerCapture(event.pointerId);
  strokes.push(stroke = []);
  showTools();
  draw(event);
});
paper.addEventListener("pointermove", (event) => { if (stroke && paper.hasPointerCapture(event.pointerId)) draw(event); });
paper.addEventListener("lostpointercapture", () => { stroke = null; });
find("undo").addEventListener("click", undo);
find("clear").addEventListener("click", clear);
find("file").addEventListener("change", (event) => { open(event.target.files[0]); event.target.value = ""; });
addEventListener("dragover", (event) => { event.preventDefault(); paper.parentElement.classList.add("over"); });
addEventListener("dragleave", () => paper.parentElement.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  paper.parentElement.classList.remove("over");
  open(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => open(event.clipboardData.files[0]));
addEventListener("keydown", (event) => {
  if (event.key === "Escape") clear();
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") {
    event.preventDefault();
    undo();
  }
});
answered("model").then(describe).catch((problem) => say(problem.message, "problem"));
