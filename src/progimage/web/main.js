// Selects the view by the URL's fragment, and handles the API key.

import { askJson, key, setKey } from "./api.js";
import { find } from "./elements.js";
import { showGallery } from "./gallery.js";
import { showImage } from "./image.js";
import "./uploads.js";

const IMAGE = /^#\/image\/([0-9a-f-]{36})$/;

async function route(event) {
  const reference = location.hash.match(IMAGE)?.[1];
  find("zoom-dialog").close();
  find("gallery-view").hidden = Boolean(reference);
  find("image-view").hidden = !reference;
  if (event) {
    find("main").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  if (reference) return showImage(reference);
  document.title = "ProgImage";
  return showGallery();
}

addEventListener("hashchange", (event) => (location.hash === "#main" ? find("main").focus() : route(event)));

const dialog = find("key-dialog");

find("open-key").addEventListener("click", async () => {
  find("key").value = key();
  find("account").textContent = "";
  dialog.showModal();
  try {
    const { owner, images } = await askJson("/account");
    find("account").textContent = `Owner: ${owner} (${images} images).`;
  } catch (error) {
    find("account").textContent = error.status === 401 && !key() ? "Listing and uploading images requires an API key." : error.message;
  }
});
dialog.addEventListener("close", () => {
  if (!dialog.returnValue) return;
  setKey(dialog.returnValue === "use" ? find("key").value.trim() : "");
  dialog.returnValue = "";
  route();
});

route();
