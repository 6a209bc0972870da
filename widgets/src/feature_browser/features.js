// Views of features: asked for once, kept, and fetched ahead for the neighbours in the list.

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
    const answer = app.messages.ask("feature", { latent }).then(({ content, buffers }) => {
      kept.set(latent, decodeView(content, buffers));
      for (const [oldest] of kept) if (kept.size > KEPT) kept.delete(oldest);
      return kept.get(latent);
    }).finally(() => coming.delete(latent));
    coming.set(latent, answer);
    return answer;
  }

  return {
    get, fetchView,
    /** The features that j and k lead to. @param {number} latent */
    ahead(latent) {
      const at = app.shown.indexOf(latent);
      if (at < 0) return;
      for (const next of [app.shown[at + 1], app.shown[at - 1]])
        if (next !== undefined && !kept.has(next)) fetchView(next).catch(() => {}); // said when it is opened
    },
  };
}
