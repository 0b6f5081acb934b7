// Reads JSON as the client writes it: NaN and infinities stand in it bare.

const TOKENS = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g;

/** Return the value of a JSON text in which NaN and infinities are null; undefined if it is none. */
export function parseLoose(text) {
  try {
    return JSON.parse(text);
  } catch {
    try {
      return JSON.parse(text.replace(TOKENS, (token) => (token[0] === '"' ? token : "null")));
    } catch {
      return undefined;
    }
  }
}

/** Fetch a file of a run that holds JSON; null when the server is gone, undefined for other text. */
export async function getFile(address) {
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    return answer.ok ? parseLoose(await answer.text()) : null;
  } catch {
    return null;
  }
}
