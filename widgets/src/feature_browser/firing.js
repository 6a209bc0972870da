// What a search finds beside texts: the latents that fire on the token that it names. Only Python knows them.

import { float32 } from "../shared/buffers.js";

const LONGEST = 64; // characters; no token is longer
const KEPT = 100; // searches
const PATIENCE = 60000; // ms: over a large store it reads for seconds

/**
 * @param {import("./app.js").App} app @param {() => void} found  there is an answer for what is searched now
 */
export function firing(app, found) {
  let asking = false;
  const now = () => String(app.model.get("filter")?.search ?? "");

  /** One question at a time: who types does not wait for what was typed before. */
  async function ask() {
    const [search, known] = [now(), app.listing.firing];
    if (asking || known.has(search) || !search.trim() || search.length > LONGEST || app.listing.off.token) return;
    asking = true;
    try {
      const { buffers } = await app.messages.ask("token", { text: search }, PATIENCE);
      known.set(search, float32(buffers[0]));
    } catch {
      known.set(search, []); // the texts are found all the same
    }
    for (const [oldest] of known) if (known.size > KEPT) known.delete(oldest);
    asking = false;
    if (app.signal.aborted) return;
    if (now() === search && known.get(search)?.length) found();
    ask();
  }
  return ask;
}
