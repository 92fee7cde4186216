"use strict";
const text = find("text"), plot = find("plot");

function describe(said) {
  describeModel(said);
  const names = model.features.slice(0, 8).join(", ") + (model.features.length > 8 ? ", …" : "");
  find("features").textContent = model.features.length === 1 ? `one number: ${names}` : `${model.features.length} numbers: ${names}`;
}

function show(said) {
  plot.replaceChildren();
  document.body.classList.toggle("plotted", Boolean(said));
  if (said) draw(said.sequence);
  showAnswer(said);
}

function draw(steps) { // draws a line for each feature, from its smallest to its largest value
  const last = Math.max(1, steps.length - 1);
  plot.setAttribute("viewBox", `0 -0.03 ${last} 1.06`);
  model.features.forEach((name, feature) => {
    const values = steps.map((step) => step[feature]), least = Math.min(...values), range = Math.max(...values) - least;
    const heights = values.map((value) => (range ? 1 - (value - least) / range : 0.5));
    const points = heights.length > 1 ? heights.map((height, step) => `${step},${height}`) : [`0,${heights[0]}`, `1,${heights[0]}`];
    const line = element("polyline", {points: points.join(" ")}, element("title", {}, name));
    line.style.stroke = `hsl(${360 * feature / model.features.length} 60% 50%)`;
    plot.append(line);
  });
  find("steps").textContent = `${steps.length} ${steps.length === 1 ? "step" : "steps"}, each feature from its smallest to its largest value`;
}

function scan(part) { // moves a line behind the steps that were read
  const last = Number(plot.getAttribute("viewBox").split(" ")[2]), place = part * (last + 1) - 1;
  plot.querySelector("line")?.remove();
  if (part < 1) plot.append(element("line", {x1: place, x2: place, y1: -0.03, y2: 1.03}));
}

async function ask() {
  const asked = ++version, body = text.value;
  find("clear").disabled = !body;
  if (!body.trim()) return show(null);
  find("bars").setAttribute("aria-busy", "true");
  try {
    const said = await answered("sequence", {method: "POST", headers: {"Content-Type": "text/csv"}, body});
    if (asked === version) show(said);
  } catch (problem) {
    if (asked === version) { show(null); say(problem.message, "problem"); }
  }
  if (asked === version) find("bars").setAttribute("aria-busy", "false");
}

const quoted = (name) => (/[",]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name);

function fill(csv) {
  text.value = csv;
  ask();
}

async function open(file) {
  if (file) fill(await file.text());
}

text.addEventListener("input", ask);
find("clear").addEventListener("click", () => fill(""));
find("sample").addEventListener("click", () => fill([model.features.map(quoted), ...model.sample.map((step) => step.map((value) => +value.toPrecision(7)))].map((row) => row.join(",")).join("\n")));
find("file").addEventListener("change", (event) => { open(event.target.files[0]); event.target.value = ""; });
addEventListener("dragover", (event) => { event.preventDefault(); text.classList.add("over"); });
addEventListener("dragleave", () => text.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  text.classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file) open(file);
  else fill(event.dataTransfer.getData("text"));
});
addEventListener("paste", (event) => {
  const file = event.clipboardData.files[0], pasted = event.clipboardData.getData("text");
  if (event.target === text && !file) return; // the browser pastes into the text
  event.preventDefault();
  if (file) open(file);
  else fill(pasted);
});
answered("model").then(describe).catch((problem) => say(problem.message, "problem"));
