// Views of features: asked for once, kept, and fetched ahead where one is likely to be opened.

import { decodeView } from "./listing.js";

const KEPT = 200;

/** @param {import("./app.js").App} app */
export function features(app) {
  /** @type {Map<number, any>} */ const kept = new Map();
  /** @type {Map<number, Promise<any>>} */ const coming = new Map();

  /** The view, at once when it is kept. @param {number} latent */
  function get(latent) {
    const view = kept.get(latent);
    if (view) {
      kept.delete(latent); // and in again as the latest
      kept.set(latent, view);
    }
    return view ?? null;
  }

  /** @param {number} latent @returns {Promise<any>} */
  function fetchView(latent) {
    const asked = coming.get(latent);
    if (asked) return asked;
    const answer = app.messages
      .ask("feature", { latent })
      .then(({ content, buffers }) => {
        kept.set(latent, decodeView(content, buffers));
        for (const [oldest] of kept) if (kept.size > KEPT) kept.delete(oldest);
        return kept.get(latent);
      })
      .finally(() => coming.delete(latent));
    coming.set(latent, answer);
    return answer;
  }

  /** Features that are likely to be opened soon. @param {...(number | undefined)} latents */
  function ahead(...latents) {
    for (const next of latents) if (next !== undefined && !kept.has(next)) fetchView(next).catch(() => {}); // said when it is opened
  }

  return {
    get,
    fetchView,
    /** Its view is of before. */
    forget: (/** @type {number} */ latent) => kept.delete(latent),
    ahead,
    /** Only while nothing else is on its way: a pointer that runs over the list must not fill the queue. @param {number} latent */
    hovered: (latent) => coming.size || ahead(latent),
  };
}
