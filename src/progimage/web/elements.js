// Helpers for all parts of the page.

export const find = (id) => document.getElementById(id);

export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  const { attributes = {}, ...own } = properties;
  Object.assign(element, own);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children);
  return element;
}

let clearing = 0;

// Shows a message for a while, also to screen readers.
export function say(text, ...more) {
  clearTimeout(clearing);
  find("status").replaceChildren(text, ...more);
  clearing = setTimeout(() => find("status").replaceChildren(), more.length ? 15000 : 6000);
}

const UNITS = ["bytes", "kB", "MB", "GB"];

export function bytes(count) {
  let unit = 0;
  while (count >= 1000 && unit < UNITS.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit ? count.toPrecision(3) : count} ${UNITS[unit]}`;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    say("The browser doesn't allow copying. Select the text instead.");
  }
}
