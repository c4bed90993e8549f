// One image: original and rendition side by side, metadata, and actions.

import { address, ask, askJson, key, sendJson } from "./api.js";
import { makeControls, query, written } from "./controls.js";
import { bytes, copy, find, make, say } from "./elements.js";
import { openZoom } from "./zoom.js";

const PAUSE = 250;
const SHOWN = "webp?width=1600&height=1200&fit=inside";
const WIDTHS = [480, 960, 1920];
// Parameters of an encoder, which other formats may not support.
const ENCODING = ["quality", "max_bytes", "chroma", "depth", "lossless", "effort", "progressive", "palette"];
let image = null;
let asking = new AbortController();
let pausing = 0;

export async function showImage(reference) {
  asking.abort();
  image = null;
  for (const id of ["before", "after"]) forget(find(id));
  try {
    const [known] = await Promise.all([askJson(`/storage/${reference}/info`), makeControls(later)]);
    image = known;
  } catch (error) {
    say(error.message);
    location.hash = "#/";
    return;
  }
  find("name").textContent = image.filename ?? image.reference;
  document.title = `${find("name").textContent} – ProgImage`;
  find("before-facts").textContent = factsOf(image);
  find("warnings").replaceChildren(...image.warnings.map((warning) => make("li", {}, warning)));
  find("warnings").hidden = !image.warnings.length;
  for (const id of ["sign", "delete"]) find(id).hidden = !image.owner;
  find("controls").reset(); // also renders
  find("format").value = image.alpha ? "png" : "jpg";
  tellFacts();
  await Promise.all([
    show(find("before"), `/storage/${reference}.${SHOWN}`),
    link(find("download-original"), `/storage/${reference}?download`),
  ]).catch((error) => say(error.message));
}

function factsOf({ format, upright_width, upright_height, bit_depth, hdr, gain_map, frames, animated, ...others }) {
  return [
    format,
    `${upright_width}×${upright_height}`,
    ...(frames > 1 ? [`${frames} ${animated ? "frames" : "pages"}`] : []),
    ...(bit_depth > 8 ? [`${bit_depth} bits`] : []),
    ...(hdr ? ["HDR"] : gain_map ? ["gain map"] : []),
    bytes(others.bytes),
  ].join(", ");
}

function later() {
  clearTimeout(pausing);
  pausing = setTimeout(render, PAUSE);
}

// Returns the path of the current rendition.
function wanted() {
  const asked = written(query());
  return `/storage/${image.reference}.${find("format").value}${asked ? `?${asked}` : ""}`;
}

async function render() {
  if (!image) return;
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const path = wanted();
  tellCode(path);
  find("after").setAttribute("aria-busy", "true");
  try {
    const began = performance.now();
    const answer = await ask(path, { signal, cache: "no-store" });
    const answered = performance.now() - began;
    const blob = await answer.blob();
    const shown = await showBlob(find("after"), blob, path, signal);
    if (signal.aborted) return;
    find("wrong").hidden = true;
    const size = shown ? `${find("after").naturalWidth}×${find("after").naturalHeight}` : "a preview (browsers don't support this format)";
    find("after-facts").textContent = `${size}, ${bytes(blob.size)}, ${Math.round(answered)} ms`;
    await link(find("download"), path, blob);
  } catch (error) {
    if (signal.aborted) return;
    find("after-facts").textContent = "failed";
    find("wrong").textContent = error.message;
    find("wrong").hidden = false;
  } finally {
    find("after").removeAttribute("aria-busy");
  }
}

// Shows a rendition, or the same as PNG if browsers don't support its format; returns whether it is the rendition.
async function showBlob(picture, blob, path, signal) {
  try {
    await put(picture, blob);
    return true;
  } catch {
    const [stem, asked] = path.split("?");
    const kept = new URLSearchParams(asked);
    for (const name of [...ENCODING, "keep"]) kept.delete(name);
    const preview = await ask(`${stem.replace(/\.\w+$/, ".png")}?${kept}`, { signal });
    await put(picture, await preview.blob());
    return false;
  }
}

async function show(picture, path) {
  await put(picture, await (await ask(path)).blob());
}

async function put(picture, blob) {
  const url = URL.createObjectURL(blob);
  const trial = new Image();
  trial.src = url;
  try {
    await trial.decode();
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
  forget(picture);
  picture.src = url;
  await picture.decode();
}

function forget(picture) {
  if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");
}

// Sets a download link. With an API key, the file is fetched here, since links don't send the key.
async function link(element, path, blob = null) {
  const stem = (image.filename ?? image.reference).replace(/\.\w+$/, "");
  const extension = path.match(/\.(\w+)(\?|$)/)?.[1];
  element.download = extension ? `${stem}.${extension}` : (image.filename ?? image.reference);
  if (element.href.startsWith("blob:")) URL.revokeObjectURL(element.href);
  if (!key()) element.href = address(path).href;
  else element.href = URL.createObjectURL(blob ?? (await (await ask(path)).blob()));
}

function tellFacts() {
  const { exif, metadata = {}, labels = [], ...rest } = image;
  const rows = [...Object.entries(rest), ["labels", labels.join(", ")], ...Object.entries(metadata), ...Object.entries(exif)];
  const said = rows.filter(([, value]) => value !== null && value !== "" && value !== undefined);
  find("facts").replaceChildren(
    ...said.flatMap(([name, value]) => [make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, String(value))]),
  );
}

function tellCode(path) {
  const url = address(path).href;
  const pairs = query();
  const extension = find("format").value;
  const options = pairs.map(([name, value]) => `, ${name}=${python(value)}`).join("");
  const lines = {
    URL: url,
    curl: `curl -o image.${extension} '${url}'`,
    HTML: html(pairs),
    Python: [
      "from progimage import Client",
      "",
      `with Client("${address("/").href.replace(/\/$/, "")}") as images:`,
      `    images.download("${image.reference}", "image.${extension}", "${extension}"${options})`,
    ].join("\n"),
  };
  find("code").replaceChildren(
    ...Object.entries(lines).map(([name, text]) => {
      const button = make("button", { type: "button", attributes: { "aria-label": `Copy ${name}` } }, "Copy");
      button.addEventListener("click", () => copy(text));
      return make("figure", {}, make("figcaption", {}, name), make("pre", { attributes: { tabindex: "0" } }, make("code", {}, text)), button);
    }),
  );
}

const python = (value) => (/^-?\d+(\.\d+)?$/.test(value) ? value : value === "true" ? "True" : value === "false" ? "False" : JSON.stringify(value));

function html(pairs) {
  const kept = pairs.filter(([name]) => ![...ENCODING, "width", "height", "dpr"].includes(name));
  const at = (extension, width) => address(`/storage/${image.reference}.${extension}?${written([...kept, ["width", String(width)]])}`).href;
  const source = (extension) =>
    `  <source type="image/${extension}" srcset="${WIDTHS.map((width) => `${at(extension, width)} ${width}w`).join(", ")}">`;
  return ["<picture>", source("avif"), source("webp"), `  <img src="${at("jpg", WIDTHS[1])}" alt="" loading="lazy">`, "</picture>"].join("\n");
}

find("split").addEventListener("input", ({ target }) => setSplit(target.value));

function setSplit(share) {
  find("compare").style.setProperty("--at", `${share}%`);
  find("before").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  find("after").style.clipPath = `inset(0 0 0 ${share}%)`;
}
setSplit(50);

find("open-zoom").addEventListener("click", () => openZoom(image).catch((error) => say(error.message)));

find("sign").addEventListener("click", async () => {
  try {
    const { url } = await sendJson("/sign", "POST", { url: wanted(), expires_in: 86400 });
    await copy(address(url).href);
    say("Link copied. Anyone can use it for one day.");
  } catch (error) {
    say(error.message);
  }
});

find("delete").addEventListener("click", async () => {
  const { reference } = image;
  try {
    await ask(`/storage/${reference}`, { method: "DELETE" });
  } catch (error) {
    say(error.message);
    return;
  }
  location.hash = "#/";
  const undo = make("button", { type: "button" }, "Undo");
  undo.addEventListener("click", async () => {
    try {
      await ask(`/storage/${reference}/undelete`, { method: "POST" });
      location.hash = `#/image/${reference}`;
      say("Restored.");
    } catch (error) {
      say(error.message);
    }
  });
  say("Deleted.", undo);
});
