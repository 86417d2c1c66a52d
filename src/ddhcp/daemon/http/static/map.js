// The pool as a picture: a cell for one or more blocks, coloured by who owns most of it. Cells are drawn on a canvas, so
// that a /8 of four million blocks costs no more than a small pool; zooming asks the daemon for a smaller window.

import { byId, count, element, plain } from "./dom.js";

const CELLS = 4096;
const SMALLEST = 64; // blocks in the closest view
const [TENTATIVE, CLAIMED, CLAIMING, OURS, BLOCKED] = [1, 2, 3, 4, 5];

const ipv4 = (number) => [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");
const parse = (text) => text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);

// A colour that an owner keeps from look to look, and from node to node: it follows from its address.
function hue(owner) {
  let sum = 2166136261;
  for (const char of owner) sum = Math.imul(sum ^ char.codePointAt(0), 16777619) >>> 0;
  return (sum * 137.508) % 360;
}

export class PoolMap {
  // ask(query): resolves to an answer of /map
  constructor(ask) {
    this.ask = ask;
    this.canvas = byId("map");
    this.window = null; // [first block, blocks], null for all
    this.pool = null;
    this.found = null;
    this.cursor = null;
    this.chosen = null; // an owner to point out
    this.legendKey = "";
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerleave", () => this.#move(null));
    this.canvas.addEventListener("click", (event) => { this.#point(event); this.zoom(0.25); });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return; // the page scrolls as ever
      event.preventDefault();
      this.#point(event);
      this.zoom(event.deltaY < 0 ? 0.5 : 2);
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    byId("zoom-in").addEventListener("click", () => this.zoom(0.25));
    byId("zoom-out").addEventListener("click", () => this.zoom(4));
    byId("zoom-all").addEventListener("click", () => this.show(null));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  setPool(pool) {
    this.pool = pool;
  }

  async refresh() {
    if (!this.pool) return;
    const wanted = this.window;
    const query = new URLSearchParams({ cells: CELLS });
    if (wanted) { query.set("first", wanted[0]); query.set("count", wanted[1]); }
    const found = await this.ask(query);
    if (wanted !== this.window) return; // zoomed meanwhile
    this.found = found;
    this.#sum();
    this.draw();
    this.#legend();
  }

  show(window) {
    this.window = window;
    this.cursor = null;
    byId("zoom-all").disabled = byId("zoom-out").disabled = window === null;
    return this.refresh().catch(() => {});
  }

  zoom(factor) {
    if (!this.found || !this.pool) return;
    const { first, end, cell_size: size } = this.found;
    const wanted = Math.max(SMALLEST, 2 ** Math.round(Math.log2((end - first) * factor)));
    if (wanted >= this.pool.blocks) { this.show(null); return; }
    if (wanted === end - first) return;
    const middle = this.cursor === null ? (first + end) / 2 : first + (this.cursor + 0.5) * size;
    const start = Math.floor((middle - wanted / 2) / wanted * 4) / 4 * wanted;
    this.show([Math.max(0, Math.min(this.pool.blocks - wanted, Math.floor(start))), wanted]);
  }

  #sum() {
    const { found } = this;
    this.cells = new Map(found.cells);
    this.owned = found.owners.map(() => 0);
    for (const [, owners] of found.cells) {
      for (const [slot, state, blocks] of owners) if (state === CLAIMED || state === OURS) this.owned[slot] += blocks;
    }
    this.names = found.owners.map((owner) => owner.address ?? owner.node_id);
  }

  #colour(slot) {
    const isDark = document.documentElement.dataset.theme === "dark";
    if (this.found.owners[slot].self) return isDark ? "#2dd4bf" : "#0f766e";
    return `hsl(${hue(this.names[slot]).toFixed(0)} ${isDark ? "62% 62%" : "58% 48%"})`;
  }

  draw() {
    if (!this.found) return;
    const { found, canvas } = this;
    const total = Math.max(1, Math.ceil((found.end - found.first) / found.cell_size));
    const width = canvas.clientWidth || 600;
    let columns = 2 ** Math.ceil(Math.log2(Math.sqrt(total * 3.2)));
    columns = Math.min(columns, 2 ** Math.floor(Math.log2(width / 5)), total);
    const size = width / columns;
    const rows = Math.ceil(total / columns);
    const height = Math.min(size, 44);
    Object.assign(this, { columns, size, height, total });
    const ratio = window.devicePixelRatio || 1;
    canvas.style.height = `${rows * height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(rows * height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const [free, line] = [style.getPropertyValue("--cell"), style.getPropertyValue("--text")];
    const gap = size > 9 ? 1.5 : size > 5 ? 1 : 0.5;
    const colours = found.owners.map((_, slot) => this.#colour(slot));
    for (let cell = 0; cell < total; cell++) {
      const x = (cell % columns) * size, y = Math.floor(cell / columns) * height;
      pen.globalAlpha = 1;
      pen.fillStyle = free;
      pen.fillRect(x, y, size - gap, height - gap);
      this.#fill(pen, this.cells.get(cell), colours, x, y, size - gap, height - gap);
    }
    pen.globalAlpha = 1;
    if (this.cursor !== null) {
      pen.strokeStyle = line;
      pen.lineWidth = 2;
      pen.strokeRect((this.cursor % columns) * size + 0.5, Math.floor(this.cursor / columns) * height + 0.5, size - gap - 1, height - gap - 1);
    }
    const base = parse(this.pool.network.split("/")[0]);
    const one = found.cell_size === 1 ? "a cell is one block" : `a cell is ${count(found.cell_size)} blocks`;
    const from = ipv4(base + found.first * this.pool.block_size), to = ipv4(base + found.end * this.pool.block_size - 1);
    byId("map-window").textContent = `${from} – ${to}, ${one}`;
  }

  // A cell is filled from the left by as much of it as is taken, each owner in its colour.
  #fill(pen, owners, colours, x, y, width, height) {
    if (!owners) return;
    let left = x;
    for (const [slot, state, blocks] of owners) {
      const part = Math.max(blocks / this.found.cell_size * width, Math.min(2, width));
      const wide = Math.min(part, x + width - left);
      pen.fillStyle = colours[slot];
      pen.globalAlpha = this.chosen !== null && this.names[slot] !== this.chosen ? 0.15 : 1;
      if (state === OURS || state === CLAIMED) pen.fillRect(left, y, wide, height);
      else if (state !== BLOCKED) {
        pen.globalAlpha *= 0.55;
        pen.fillRect(left, y + height * 0.35, wide, height * 0.3); // asked for or being claimed: a bar
      }
      left += wide;
    }
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    if (!this.size || !box.width) return;
    const column = Math.floor((event.clientX - box.left) / this.size), row = Math.floor((event.clientY - box.top) / this.height);
    const cell = row * this.columns + column;
    this.#move(column >= 0 && column < this.columns && cell >= 0 && cell < this.total ? cell : null);
  }

  #move(cell) {
    if (cell === this.cursor) return;
    this.cursor = cell;
    this.draw();
    if (cell !== null) byId("map-cell").textContent = this.describe(cell);
  }

  describe(cell) {
    const { found, pool } = this;
    const first = found.first + cell * found.cell_size;
    const end = Math.min(found.end, first + found.cell_size);
    const base = parse(pool.network.split("/")[0]);
    const blocks = end - first === 1 ? `block ${first}` : `blocks ${count(first)} to ${count(end - 1)}`;
    const range = `${ipv4(base + first * pool.block_size)} – ${ipv4(base + end * pool.block_size - 1)}`;
    const said = { [TENTATIVE]: "asked for by", [CLAIMED]: "owned by", [CLAIMING]: "being claimed by", [OURS]: "owned by", [BLOCKED]: "never used," };
    let taken = 0;
    const owners = (this.cells.get(cell) ?? []).map(([slot, state, number]) => {
      taken += number;
      const who = found.owners[slot].self ? "this node" : plain(this.names[slot]);
      return `${end - first === 1 ? "" : count(number) + " "}${said[state]} ${/^0+$/.test(who) ? "somebody" : who}`;
    });
    if (end - first - taken > 0) owners.push(end - first === 1 ? "free" : `${count(end - first - taken)} free`);
    return `${range} (${blocks}): ${owners.join(", ")}`;
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns }[event.key];
    if (step) this.#move(Math.max(0, Math.min(this.total - 1, (this.cursor ?? -step) + step)));
    else if (event.key === "+" || event.key === "Enter") this.zoom(0.25);
    else if (event.key === "-") this.zoom(4);
    else if (event.key === "Home") this.show(null);
    else return;
    event.preventDefault();
  }

  #legend() {
    const order = this.names.map((_, slot) => slot).filter((slot) => this.owned[slot]).sort((a, b) => this.found.owners[b].self - this.found.owners[a].self || this.owned[b] - this.owned[a]);
    const key = JSON.stringify([document.documentElement.dataset.theme, this.chosen, order.map((slot) => [this.names[slot], this.owned[slot]])]);
    if (key === this.legendKey) return; // leave the focus where it is
    this.legendKey = key;
    const focused = document.activeElement?.dataset?.owner;
    byId("legend").replaceChildren(...order.slice(0, 200).map((slot) => {
      const name = this.names[slot];
      const swatch = element("i", { class: "swatch", "aria-hidden": "true" });
      swatch.style.background = this.#colour(slot);
      const who = this.found.owners[slot].self ? "this node" : plain(name);
      const button = element("button", { type: "button", "data-owner": name, "aria-pressed": String(this.chosen === name), title: "Point out this node's blocks" },
        swatch, element("span", { class: "mono" }, who), element("span", { class: "quiet num" }, count(this.owned[slot])));
      button.addEventListener("click", () => {
        this.chosen = this.chosen === name ? null : name;
        this.draw();
        this.#legend();
      });
      return element("li", {}, button);
    }));
    if (!order.length) byId("legend").append(element("li", { class: "quiet" }, "Nobody owns a block here."));
    if (focused) document.querySelector(`[data-owner="${CSS.escape(focused)}"]`)?.focus();
  }

  repaint() {
    this.draw();
    if (this.found) this.#legend();
  }
}
