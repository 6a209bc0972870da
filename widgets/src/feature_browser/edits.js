// Labels, stars and notes: shown at once, kept by the store, counted while the kernel has not confirmed them.

import { reindex, reorder } from "./filtering.js";

/**
 * @param {import("./app.js").App} app
 * @param {{changed: (latents: number[]) => void, scored: (latents: number[]) => void, say: (text: string) => void}} told
 */
export function edits(app, { changed, scored, say }) {
  /** @type {Map<number, number>} */ const waiting = new Map();

  /** @param {number} latent @param {import("./listing.js").Label} entry */
  function put(latent, entry) {
    app.listing.labels.set(latent, entry);
    reindex(app.listing, latent);
  }

  /** What others stored; an edit of ours that is on its way wins. @param {any[]} entries */
  function take(entries) {
    const fresh = entries.filter(({ latent }) => !waiting.has(latent));
    const news = [];
    for (const entry of fresh) {
      put(entry.latent, entry);
      for (const { name } of app.listing.about) {
        if (entry[name] === undefined) continue; // as another view of this browser tells it
        app.listing.columns[name][entry.latent] = entry[name] ?? NaN;
        reorder(app.listing, name);
        news.push(entry.latent);
      }
    }
    if (news.length) scored(news);
    if (fresh.length) changed(fresh.map(({ latent }) => latent));
  }

  /** @type {import("./app.js").App["edit"]} */
  async function edit(latent, change) {
    if (app.listing.off.edit) return;
    const before = app.listing.labels.get(latent) ?? {};
    put(latent, { ...before, ...change });
    waiting.set(latent, (waiting.get(latent) ?? 0) + 1);
    changed([latent]);
    /** @type {any} */ let stored = null;
    try {
      stored = (await app.messages.ask("label", { latent, ...change })).content.stored;
    } catch (error) {
      put(latent, before);
      say(`Feature ${latent} is as it was: the change was not stored. ${/** @type {Error} */ (error).message}`);
    }
    const left = (waiting.get(latent) ?? 1) - 1;
    if (left) waiting.set(latent, left);
    else waiting.delete(latent);
    if (stored && !left) put(latent, stored);
    changed([latent]);
  }

  /** Changes that another notebook made. */
  async function poll() {
    const { content } = await app.messages.ask("labels", { since: app.listing.version });
    app.listing.version = content.version;
    take(content.labels);
  }

  return {
    edit,
    take,
    poll,
    pending: (/** @type {number} */ latent) => waiting.has(latent),
    count: () => [...waiting.values()].reduce((a, b) => a + b, 0),
  };
}
