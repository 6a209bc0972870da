// Labels, stars and notes: shown at once, kept by the store, counted while the kernel has not confirmed them; and where
// it never does, by the next view of the store.

import { reindex, reorder } from "./filtering.js";
import { kept } from "./kept.js";

/**
 * @param {import("./app.js").App} app
 * @param {{changed: (latents: number[]) => void, scored: (latents: number[]) => void, say: (text: string) => void}} told
 */
export function edits(app, { changed, scored, say }) {
  /** @type {Map<number, number>} */ const waiting = new Map();
  const unsaved = kept(app.listing.store, app.listing.size);
  const news = (/** @type {StorageEvent} */ event) => {
    if (event.key === unsaved.key) changed([]); // another view may have stored what this one could not
  };
  window.addEventListener("storage", news, { signal: app.signal });

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
    unsaved.add(latent, change);
    changed([latent]);
    /** @type {any} */ let stored = null;
    try {
      stored = (await app.messages.ask("label", { latent, ...change })).content.stored;
    } catch (error) {
      put(latent, before);
      say(`Feature ${latent} is as it was: the change was not stored. ${/** @type {Error} */ (error).message}`);
    }
    unsaved.remove(latent, change);
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

  /** Edits of an earlier view, which were never confirmed: the store gets them now, but for what was saved since. */
  function resume() {
    if (app.listing.off.edit) return;
    for (const [latent, [change, at]] of unsaved.read()) {
      if (waiting.has(latent)) continue;
      if (Date.parse(app.listing.labels.get(latent)?.saved ?? "") > at) {
        unsaved.remove(latent, change);
        say(
          `Feature ${latent} was changed since: ${JSON.stringify(change.label ?? change.note ?? "a star")} was not stored.`,
        );
      } else edit(latent, change);
    }
  }

  return {
    edit,
    resume,
    take,
    poll,
    pending: (/** @type {number} */ latent) => waiting.has(latent),
    /** Edits of this view that nobody has stored. */
    count() {
      const left = unsaved.read();
      return [...waiting.keys()].filter((latent) => left.has(latent)).length;
    },
  };
}
