// Requests to the service, with the API key if there is one.

const KEY = "progimage-key";
export const root = new URL(".", document.baseURI);

export const key = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY));
export const headers = () => (key() ? { authorization: `Bearer ${key()}` } : {});

// A problem document (RFC 9457) as a readable message.
export class Problem extends Error {
  constructor(status, document) {
    const { detail, parameter, given, allowed } = document;
    const what = parameter ? ` (${parameter}${given === undefined ? "" : `: ${given}`})` : "";
    const may = allowed === undefined ? "" : ` Allowed: ${Array.isArray(allowed) ? allowed.join(", ") : allowed}.`;
    super(`${detail ?? `The service returned status ${status}.`}${what}${may}`);
    this.status = status;
  }
}

export const address = (path) => new URL(path.replace(/^\//, ""), root);

export async function ask(path, options = {}) {
  const response = await fetch(address(path), { ...options, headers: { ...headers(), ...options.headers } });
  if (response.ok) return response;
  throw new Problem(response.status, await readProblem(response));
}

const readProblem = async (response) =>
  response.headers.get("content-type")?.includes("json") ? response.json() : {};

export const askJson = async (path, options) => (await ask(path, options)).json();

export const sendJson = (path, method, body) =>
  askJson(path, { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } });

// Uploads a file and reports progress, which fetch can't.
export function upload(file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address(`/storage/${encodeURIComponent(file.name || "pasted")}`));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.setRequestHeader("accept", "application/json");
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Error("The service can't be reached, or it rejected the file before the upload was complete."));
    request.onload = () => {
      const document = parsed(request.responseText);
      if (request.status === 200) resolve(document);
      else reject(new Problem(request.status, document));
    };
    request.send(file);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
