// Edits that the store has not confirmed, kept in the storage of the page's origin under the name of their store: the
// next view of that store hands them over, though the page and its kernel may be gone by then. What is read there may
// be anybody's, so it is looked at before it is used. Where a page has no storage, edits are kept as long as it is open.

/** @typedef {{label?: string, star?: boolean, note?: string}} Change */

const TYPES = /** @type {const} */ ({ label: "string", star: "boolean", note: "string" });
const FIELDS = /** @type {(keyof Change)[]} */ (Object.keys(TYPES));

/**
 * What of a stored text is edits: latent → [change, when it was made in milliseconds].
 * @param {string | null} text @param {number} size  latents of the store
 */
export function parse(text, size) {
  /** @type {Map<number, [Change, number]>} */ const found = new Map();
  /** @type {unknown} */ let all = null;
  try {
    all = JSON.parse(text ?? "[]");
  } catch {} // as good as nothing
  for (const entry of Array.isArray(all) ? all : []) {
    const [latent, change, at] = Array.isArray(entry) ? entry : [];
    if (!Number.isInteger(latent) || latent < 0 || latent >= size || typeof at !== "number" || !change) continue;
    const own = Object.fromEntries(FIELDS.filter((f) => typeof change[f] === TYPES[f]).map((f) => [f, change[f]]));
    if (Object.keys(own).length) found.set(latent, [own, at]);
  }
  return found;
}

/** @param {string} store  what tells it from every other @param {number} size  its latents */
export function kept(store, size) {
  const key = `saekit.edits.${store}`;
  let held = "[]"; // where there is no storage

  function read() {
    try {
      return parse(localStorage.getItem(key), size);
    } catch {
      return parse(held, size);
    }
  }

  /** @param {ReturnType<typeof read>} edits */
  function write(edits) {
    held = JSON.stringify([...edits].map(([latent, [change, at]]) => [latent, change, at]));
    try {
      if (edits.size) localStorage.setItem(key, held);
      else localStorage.removeItem(key);
      window.dispatchEvent(new StorageEvent("storage", { key })); // which tells other pages, but not this one
    } catch {} // no storage, or it is full
  }

  return {
    key,
    read,
    /** @param {number} latent @param {Change} change */
    add(latent, change) {
      const edits = read();
      write(edits.set(latent, [{ ...edits.get(latent)?.[0], ...change }, Date.now()]));
    },
    /** The store has it, or will not have it; what was changed again since stays. @param {number} latent @param {Change} change */
    remove(latent, change) {
      const edits = read();
      const [now, at] = edits.get(latent) ?? [{}, 0];
      const left = Object.fromEntries(FIELDS.filter((f) => f in now && now[f] !== change[f]).map((f) => [f, now[f]]));
      if (Object.keys(left).length) edits.set(latent, [left, at]);
      else edits.delete(latent);
      write(edits);
    },
  };
}
