"use strict";
// Shared by all pages. Each has its own `scan(part)`, which shows the fraction of the example that was read.
const find = (id) => document.getElementById(id);
const SURE = 2 / 3; // the certainty from which a class is twice as probable as all others together
let model = {}, bars = [], version = 0, timer = null;
let answer = null; // the last answer

function element(tag, attributes, ...children) {
  const made = document.createElementNS(/^(svg|polyline|line|title)$/.test(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  made.append(...children);
  return made;
}

function describeModel(said) {
  model = said;
  find("model").textContent = `${model.model}, trained on ${model.dataset}`;
  bars = model.class_names.map((name) => {
    const meter = element("span", {role: "meter", "aria-label": name, "aria-valuemax": 1}, element("i", {})), value = element("span", {});
    const row = element("li", {}, element("span", {}, name), meter, value);
    find("bars").append(row);
    return {row, meter, value};
  });
  showBars(null);
}

function showBars(probabilities) { // null: there is no answer
  const best = Math.max(...probabilities ?? []);
  bars.forEach(({row, meter, value}, index) => {
    const probability = probabilities?.[index] ?? 0;
    meter.setAttribute("aria-valuenow", probability);
    meter.firstChild.style.transform = `scaleX(${probability})`;
    value.textContent = probabilities ? `${(100 * probability).toFixed(1)}\u00a0%` : "";
    row.classList.toggle("best", probabilities !== null && probability === best);
  });
}

function say(text, kind = "") {
  find("answer").className = kind;
  find("answer").textContent = text;
}

const named = (probabilities) => model.class_names[probabilities.indexOf(Math.max(...probabilities))];

function showAnswer(said) { // null: there is no answer
  answer = said;
  stop();
  showBars(said?.probabilities ?? null);
  document.body.classList.toggle("told", Boolean(said?.by_step));
  if (!said) return say("");
  const doubt = said.like === false ? "This doesn't look like a digit." : said.certainty < SURE ? "Not sure." : "";
  say(doubt ? `${doubt} Perhaps ${named(said.probabilities)}?` : named(said.probabilities), doubt && "unsure");
  if (!said.by_step) return;
  find("step").max = said.by_step.steps.length;
  showStep(said.by_step.steps.length);
}

function showStep(number) { // shows the answer after a step: its bars, and the curves of all classes
  const {steps, probabilities} = answer.by_step, count = steps.length, row = number < count ? probabilities[number - 1] : answer.probabilities;
  find("step").value = number;
  document.body.classList.toggle("midway", number < count);
  showBars(row);
  find("read").textContent = `After ${steps[number - 1]} of ${steps.at(-1)} steps: ${named(row)}, ${(100 * Math.max(...row)).toFixed(1)}\u00a0%`;
  const across = (index) => (count > 1 ? index : 0.5), best = named(answer.probabilities);
  find("curves").setAttribute("viewBox", `0 -0.03 ${Math.max(1, count - 1)} 1.06`);
  find("curves").replaceChildren(...model.class_names.map((name, place) => {
    const points = probabilities.map((each, index) => `${across(index)},${1 - each[place]}`).join(" ");
    return element("polyline", {points, class: name === best ? "best" : ""}, element("title", {}, name)); // shown under the mouse
  }), element("line", {x1: across(number - 1), x2: across(number - 1), y1: -0.03, y2: 1.03}));
  scan(steps[number - 1] / steps.at(-1));
}

function stop() {
  clearInterval(timer);
  timer = null;
}

function play() {
  stop();
  let number = 1;
  timer = setInterval(() => {
    showStep(number);
    if (++number > answer.by_step.steps.length) stop();
  }, 110);
}

async function answered(address, request) {
  const response = await fetch(address, request).catch(() => { throw new Error("The server does not answer."); });
  const said = await response.json().catch(() => ({})); // a proxy refuses with a page
  if (!response.ok) throw new Error(said.message ?? `The server answers with status ${response.status}.`);
  return said;
}

find("play").addEventListener("click", play);
find("step").addEventListener("input", (event) => { stop(); showStep(Number(event.target.value)); });
