// Building the page. Values are only ever set as text, so that nothing a client calls itself can become markup.

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children) made.append(child instanceof Node ? child : String(child));
  return made;
}

export const setText = (id, text) => {
  const target = typeof id === "string" ? byId(id) : id;
  if (target.textContent !== text) target.textContent = text;
};

// Control characters and direction marks of a foreign text, made visible.
export const plain = (value) =>
  value === null || value === undefined
    ? "–"
    : String(value).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (c) => "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));

export const count = (value) => (Number.isFinite(value) ? value.toLocaleString("en").replaceAll(",", "\u202f") : "–");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const left = Math.max(0, Math.round(seconds));
  for (const [unit, size, smaller, part] of [["d", 86400, "h", 3600], ["h", 3600, "m", 60], ["m", 60, "s", 1]]) {
    if (left >= size) return `${Math.floor(left / size)}${unit} ${String(Math.floor((left % size) / part)).padStart(2, "0")}${smaller}`;
  }
  return `${left}s`;
}

const SVG = "http://www.w3.org/2000/svg";

// A line of the last hour. Points: [time, value], value null for a gap.
export function sparkline(target, points, label) {
  const known = points.filter(([, value]) => value !== null);
  if (known.length < 2) {
    target.replaceChildren(element("p", { class: "spark-none" }, "The last hour appears here."));
    return;
  }
  const values = known.map(([, value]) => value);
  const low = Math.min(0, ...values), high = Math.max(...values, low + 1);
  const from = known[0][0], to = known.at(-1)[0];
  const place = ([time, value]) => `${((time - from) / (to - from || 1) * 100).toFixed(2)} ${(36 - (value - low) / (high - low) * 34).toFixed(2)}`;
  const line = "M" + known.map(place).join("L");
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", "0 0 100 38");
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("class", "spark");
  picture.setAttribute("role", "img");
  const minutes = Math.max(1, Math.round((to - from) / 60));
  picture.setAttribute("aria-label", `${label}: between ${round(Math.min(...values))} and ${round(Math.max(...values))} in the last ${minutes} minutes, now ${round(values.at(-1))}`);
  for (const [kind, path] of [["area", `${line}L100 38L0 38Z`], ["line", line]]) {
    const made = document.createElementNS(SVG, "path");
    made.setAttribute("d", path);
    made.setAttribute("class", kind);
    picture.append(made);
  }
  target.replaceChildren(picture);
}

export const round = (value) => (value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1));
