// Deep zoom: loads only the visible tiles, at the necessary resolution, through the IIIF Image API.

import { ask, askJson } from "./api.js";
import { find, say } from "./elements.js";

const MOST_TILES = 400;
const AT_ONCE = 6;
const STEP = 1.4;

class Zoom {
  constructor(canvas, description, extension) {
    this.canvas = canvas;
    this.base = new URL(description.id).pathname;
    [this.width, this.height] = [description.width, description.height];
    ({ width: this.tile, scaleFactors: this.factors } = description.tiles[0]);
    this.extension = extension;
    this.tiles = new Map();
    this.waiting = [];
    this.running = 0;
    this.stopping = new AbortController();
    this.resize();
    this.all();
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    this.dense = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(box.width * this.dense));
    this.canvas.height = Math.max(1, Math.round(box.height * this.dense));
  }

  all() {
    this.scale = this.least = Math.min(this.canvas.width / this.width, this.canvas.height / this.height);
    this.left = (this.width - this.canvas.width / this.scale) / 2;
    this.top = (this.height - this.canvas.height / this.scale) / 2;
    this.draw();
  }

  // Zooms around a point of the canvas, which stays in place.
  zoom(by, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const scale = Math.min(Math.max(this.scale * by, this.least), Math.max(8, this.least));
    this.left += x / this.scale - x / scale;
    this.top += y / this.scale - y / scale;
    this.scale = scale;
    this.move(0, 0);
  }

  move(x, y) {
    const [across, down] = [this.canvas.width / this.scale, this.canvas.height / this.scale];
    const kept = (at, view, whole) => (view >= whole ? (whole - view) / 2 : Math.min(Math.max(at, 0), whole - view));
    this.left = kept(this.left + x / this.scale, across, this.width);
    this.top = kept(this.top + y / this.scale, down, this.height);
    this.draw();
  }

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.paint();
    });
  }

  paint() {
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(this.scale, 0, 0, this.scale, -this.left * this.scale, -this.top * this.scale);
    this.waiting = [];
    const wanted = this.factors.findLast((factor) => factor * this.scale <= 1) ?? 1;
    // Coarser tiles are drawn below finer ones that are not loaded yet.
    for (const factor of this.factors.toReversed()) if (factor >= wanted) this.paintLevel(context, factor, factor === wanted || factor === this.factors.at(-1));
    this.canvas.dataset.waiting = String(this.waiting.length + this.running);
    this.goOn();
  }

  paintLevel(context, factor, asked) {
    const reach = this.tile * factor;
    const right = Math.min(this.width, this.left + this.canvas.width / this.scale);
    const bottom = Math.min(this.height, this.top + this.canvas.height / this.scale);
    for (let y = Math.floor(Math.max(0, this.top) / reach) * reach; y < bottom; y += reach) {
      for (let x = Math.floor(Math.max(0, this.left) / reach) * reach; x < right; x += reach) {
        const [width, height] = [Math.min(reach, this.width - x), Math.min(reach, this.height - y)];
        const name = `${factor}/${x}/${y}`;
        const tile = this.tiles.get(name);
        if (tile?.bitmap) {
          this.tiles.delete(name);
          this.tiles.set(name, tile); // the most recently used one is evicted last
          context.drawImage(tile.bitmap, x, y, width, height);
        } else if (!tile && asked) {
          this.waiting.push({ name, path: this.path(x, y, width, height, factor) });
        }
      }
    }
  }

  path(x, y, width, height, factor) {
    const size = `${Math.ceil(width / factor)},${Math.ceil(height / factor)}`;
    const region = width === this.width && height === this.height ? "full" : `${x},${y},${width},${height}`;
    return `${this.base}/${region}/${size}/0/default.${this.extension}`;
  }

  goOn() {
    while (this.running < AT_ONCE && this.waiting.length) this.load(this.waiting.shift());
  }

  async load({ name, path }) {
    this.running += 1;
    const tile = {};
    this.tiles.set(name, tile);
    try {
      const answer = await ask(path, { signal: this.stopping.signal });
      tile.bitmap = await createImageBitmap(await answer.blob());
      this.forget();
    } catch (error) {
      if (this.stopping.signal.aborted) return;
      this.tiles.delete(name);
      say(error.message);
    } finally {
      this.running -= 1;
    }
    this.draw();
  }

  forget() {
    for (const [name, tile] of this.tiles) {
      if (this.tiles.size <= MOST_TILES) return;
      if (!tile.bitmap) continue;
      tile.bitmap.close();
      this.tiles.delete(name);
    }
  }

  stop() {
    this.stopping.abort();
    cancelAnimationFrame(this.drawing);
    for (const tile of this.tiles.values()) tile.bitmap?.close();
  }
}

let open = null;

export async function openZoom(image) {
  const dialog = find("zoom-dialog");
  const description = await askJson(`/iiif/3/${image.reference}/info.json`);
  description.id = new URL(`iiif/3/${image.reference}`, document.baseURI).href; // relative to this page's own address
  dialog.showModal();
  open = new Zoom(find("zoom"), description, image.alpha ? "png" : "jpg");
  find("zoom").focus();
}

const canvas = find("zoom");
const pointers = new Map();
const point = (event) => [event.offsetX * open.dense, event.offsetY * open.dense];
const KEYS = {
  "+": () => open.zoom(STEP), "=": () => open.zoom(STEP), "-": () => open.zoom(1 / STEP), 0: () => open.all(),
  ArrowLeft: () => open.move(-80, 0), ArrowRight: () => open.move(80, 0), ArrowUp: () => open.move(0, -80), ArrowDown: () => open.move(0, 80),
};

canvas.addEventListener("keydown", (event) => {
  const act = KEYS[event.key];
  if (!act || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  act();
});
canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    open.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...point(event));
  },
  { passive: false },
);
canvas.addEventListener("dblclick", (event) => open.zoom(2, ...point(event)));
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, point(event));
});
canvas.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = point(event);
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
    open.zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  } else {
    open.move(before[0] - now[0], before[1] - now[1]);
  }
  pointers.set(event.pointerId, now);
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
find("zoom-in").addEventListener("click", () => open.zoom(STEP));
find("zoom-out").addEventListener("click", () => open.zoom(1 / STEP));
find("zoom-all").addEventListener("click", () => open.all());
find("zoom-close").addEventListener("click", () => find("zoom-dialog").close());
find("zoom-dialog").addEventListener("close", () => {
  open?.stop();
  open = null;
});
addEventListener("resize", () => {
  if (!open) return;
  open.resize();
  open.all();
});
