// A control for every transformation, made from the list at /parameters.

import { askJson } from "./api.js";
import { find, make } from "./elements.js";

const OPEN = "Size";
let declared = null;

// Creates the controls on the first call.
export async function makeControls(onChange) {
  if (declared) return;
  const [parameters, formats] = await Promise.all([askJson("/parameters"), askJson("/formats")]);
  declared = parameters;
  for (const format of formats.filter(({ can_write }) => can_write)) {
    for (const extension of format.extensions.slice(0, 1)) {
      const what = format.description === format.name ? "" : ` – ${format.description}`;
      find("format").append(make("option", { value: extension }, `${format.name}${what}`));
    }
  }
  const groups = Map.groupBy(parameters, ({ group }) => group);
  for (const [group, members] of groups) {
    const box = make("details", { open: group === OPEN }, make("summary", {}, group), ...members.map(row));
    find("groups").append(box);
  }
  find("controls").addEventListener("input", ({ target }) => target.id === "filter" || onChange());
  find("controls").addEventListener("reset", () => setTimeout(onChange));
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  find("filter").addEventListener("input", ({ target }) => narrow(target.value.trim().toLowerCase()));
}

// Returns the names and values of the current transformations, without defaults.
export function query() {
  const found = [];
  for (const { name, default: usual } of declared) {
    const control = find(`parameter-${name}`);
    const value = control.type === "checkbox" ? String(control.checked) : control.value.trim();
    const unsaid = control.type === "checkbox" ? usual || "false" : "";
    if (value !== unsaid && value !== usual) found.push([name, value]);
  }
  return found;
}

// Returns a query string without unnecessary percent-encoding.
export const written = (pairs) =>
  pairs.map(([name, value]) => `${name}=${encodeURIComponent(value).replace(/%(2C|3A|2F|7C|3B|40|24)/g, decodeURIComponent)}`).join("&");

function row(parameter) {
  const { name, doc, unit, allowed } = parameter;
  const id = `parameter-${name}`;
  const help = make("small", { id: `${id}-help` }, `${doc.replaceAll("`", "")}${unit ? ` Unit: ${unit}.` : ""}`);
  const label = make("label", { htmlFor: id }, name);
  const control = controlFor(parameter, id);
  control.title = `Allowed: ${allowed}`;
  control.setAttribute("aria-describedby", help.id);
  const line = make("div", { className: "row" }, label, parameter.schema.format === "color" ? withPicker(control, name) : control, help);
  line.dataset.words = `${name} ${parameter.aliases.join(" ")} ${doc}`.toLowerCase();
  return line;
}

function controlFor({ schema, default: usual }, id) {
  if (schema.type === "boolean") return make("input", { id, type: "checkbox", defaultChecked: usual === "true" });
  if (schema.enum) {
    const option = (word) => make("option", { value: word === usual ? "" : word, defaultSelected: word === usual }, word || "–");
    const options = (usual ? schema.enum : ["", ...schema.enum]).map(option);
    return make("select", { id }, ...options);
  }
  if (schema.type === "integer" || schema.type === "number") {
    const step = schema.type === "integer" ? 1 : "any";
    return make("input", { id, type: "number", min: schema.minimum, max: schema.maximum, step, placeholder: usual ?? "" });
  }
  const control = make("input", { id, type: "text", placeholder: usual || (schema.examples?.[0] ?? ""), spellcheck: false });
  if (schema.examples?.length > 1) {
    const list = make("datalist", { id: `${id}-examples` }, ...schema.examples.map((value) => make("option", { value })));
    control.setAttribute("list", list.id);
    document.body.append(list);
  }
  return control;
}

function withPicker(control, name) {
  const picker = make("input", { type: "color", attributes: { "aria-label": `Pick ${name}`, value: "#ffffff" } });
  picker.addEventListener("input", () => {
    control.value = picker.value.slice(1);
  });
  return make("span", { className: "pair" }, control, picker);
}

function narrow(words) {
  for (const box of find("groups").children) {
    const rows = [...box.querySelectorAll(".row")];
    for (const line of rows) line.hidden = !line.dataset.words.includes(words);
    box.hidden = rows.every((line) => line.hidden);
    box.open = words ? true : box.firstChild.textContent === OPEN;
  }
}
