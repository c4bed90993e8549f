// The list of images: first a placeholder, then the image.

import { ask, askJson, key } from "./api.js";
import { bytes, find, make, say } from "./elements.js";

const PAGE = 48;
const SMALL = "auto?width=360&height=270&gravity=smart";
const FADE = 300;
let next = null;

export async function showGallery() {
  find("images").replaceChildren();
  find("nothing").hidden = true;
  next = null;
  await showMore();
}

async function showMore() {
  const cursor = next ? `&cursor=${encodeURIComponent(next)}` : "";
  find("more").hidden = true;
  try {
    const page = await askJson(`/storage/?limit=${PAGE}${cursor}`);
    next = page.next;
    for (const image of page.images) find("images").append(entry(image));
    find("nothing").hidden = find("images").childElementCount > 0;
    find("more").hidden = !next;
  } catch (error) {
    say(error.status === 401 ? "Enter an API key to see images." : error.message);
  }
}

export function addFirst(image) {
  find("nothing").hidden = true;
  find("images").prepend(entry(image));
}

function entry(image) {
  const name = image.filename ?? image.reference;
  const picture = make("img", { alt: "", decoding: "async" });
  const frame = make("div", { className: "frame" }, picture);
  const facts = `${image.format}, ${image.upright_width}×${image.upright_height}, ${bytes(image.bytes)}`;
  const label = make("span", { className: "label" }, name, make("small", {}, facts));
  const item = make("li", {}, make("a", { href: `#/image/${image.reference}` }, frame, label));
  seen.observe(frame);
  waiting.set(frame, { image, picture });
  return item;
}

// Images are requested when they come into view.
const waiting = new WeakMap();
const seen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      load(target, waiting.get(target));
    }
  },
  { rootMargin: "300px" },
);

async function load(frame, { image, picture }) {
  picture.onload = () => {
    picture.classList.add("there");
    setTimeout(() => frame.style.removeProperty("background-image"), FADE); // it would show through a transparent image
  };
  const placeholder = askJson(`/storage/${image.reference}/placeholder`).then(
    ({ data_uri }) => {
      if (!picture.classList.contains("there")) frame.style.backgroundImage = `url("${data_uri}")`;
    },
    () => {}, // the placeholder is optional
  );
  try {
    await placeholder;
    const path = `/storage/${image.reference}.${SMALL}`;
    picture.src = key() ? URL.createObjectURL(await (await ask(path)).blob()) : path.slice(1);
  } catch (error) {
    picture.alt = error.message;
    picture.classList.add("there");
  }
}

find("more").addEventListener("click", showMore);
