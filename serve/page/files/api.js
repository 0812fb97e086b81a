// Requests to the server that the page comes from.

let token = ""; // kept nowhere else

export function useToken(text) {
  token = text;
}

// Refused is an answer that is an error.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, body) {
  const headers = {};
  if (token) headers.Authorization = "Bearer " + token;
  if (body) headers["Content-Type"] = "application/json";
  const r = await fetch("/v1/" + path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit", redirect: "error" });
  let answer;
  try {
    answer = await r.json();
  } catch {
    throw new Refused(r.status, "the answer of the server is no JSON");
  }
  if (!r.ok) throw new Refused(r.status, answer?.error?.message ?? "the server answers " + r.status);
  return answer;
}

// memory is the path of a memory.
export const memory = (name, ...rest) => ["memories", encodeURIComponent(name), ...rest].join("/");
