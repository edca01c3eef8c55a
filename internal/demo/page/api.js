import { at, text } from "./dom.js";

// post asks the server for something. A refusal is shown, and returned as null.
export async function post(what, body) {
  try {
    const res = await fetch("api/" + what, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const answer = await res.json();
    if (res.ok) return answer;
    text(at("now"), answer.detail || res.statusText);
  } catch {
    text(at("now"), "The server does not answer.");
  }
  return null;
}

export const act = (name, instance) => post("act", instance === undefined ? { do: name } : { do: name, instance });
