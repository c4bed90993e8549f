// Uploads of dropped, pasted or chosen files: a few at a time, each with its progress and result.

import { upload } from "./api.js";
import { bytes, find, make } from "./elements.js";
import { addFirst } from "./gallery.js";

const AT_ONCE = 3;
const queue = [];
let running = 0;

export function add(files) {
  for (const file of files) {
    const bar = make("progress", { max: 1, value: 0, attributes: { "aria-label": `Upload progress of ${file.name}` } });
    const said = make("span", { className: "said", attributes: { role: "status" } }, `waiting, ${bytes(file.size)}`);
    find("uploads").prepend(make("li", {}, make("span", {}, file.name || "pasted image"), bar, said));
    queue.push({ file, bar, said });
  }
  goOn();
}

function goOn() {
  while (running < AT_ONCE && queue.length) {
    running += 1;
    send(queue.shift()).finally(() => {
      running -= 1;
      goOn();
    });
  }
}

async function send({ file, bar, said }) {
  try {
    const image = await upload(file, (share) => {
      bar.value = share;
      said.textContent = share < 1 ? `${Math.round(share * 100)} % of ${bytes(file.size)}` : "processing …";
    });
    bar.value = 1;
    said.replaceChildren(make("a", { href: `#/image/${image.reference}` }, "stored"), `: ${image.format}, ${image.upright_width}×${image.upright_height}`);
    addFirst(image);
  } catch (error) {
    bar.remove();
    said.classList.add("failed");
    said.textContent = error.message;
  }
}

const drop = find("drop");
const isFiles = (event) => event.dataTransfer?.types.includes("Files");

find("files").addEventListener("change", ({ target }) => {
  add(target.files);
  target.value = "";
});
addEventListener("dragover", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", (event) => !event.relatedTarget && drop.classList.remove("over"));
addEventListener("drop", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  drop.classList.remove("over");
  location.hash = "#/";
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  location.hash = "#/";
  add(files);
});
