// Which latents the list shows and in which order: pure functions, fast enough for 131,072 latents at every keystroke.

import { isDead } from "./listing.js";

/** @typedef {import("./listing.js").Listing} Listing
 *  @typedef {Record<string, any>} Filter */

const USUAL = /** @type {[string, boolean]} */ (["usual", false]);
/** @type {WeakMap<Listing, Map<string, Uint32Array>>} */ const orders = new WeakMap();
/** @type {WeakMap<Listing, {hints: string, starts: Uint32Array, labels: Map<number, string>}>} */ const texts =
  new WeakMap();

/** As search sees text: no case, no sign for a space. @param {string} text */
export const searchable = (text) => text.replaceAll("␣", "").toLowerCase();

/**
 * All latents by one column, ties by number, what was not measured last; kept, since sorting is the slow part.
 * @param {Listing} listing @param {string} column @param {boolean} descending
 */
export function sorted(listing, column, descending) {
  if (!orders.has(listing)) orders.set(listing, new Map());
  const known = /** @type {Map<string, Uint32Array>} */ (orders.get(listing));
  const key = `${column} ${descending}`;
  let order = known.get(key);
  if (!order) known.set(key, (order = sortedAnew(listing, column, descending)));
  return order;
}

/** A column changed: its orders are of before. @param {Listing} listing @param {string} column */
export function reorder(listing, column) {
  for (const way of [true, false]) orders.get(listing)?.delete(`${column} ${way}`);
}

/**
 * One number a latent holds its value's bits, turned so that they count upwards, above its own number: such numbers
 * sort without a comparator, which is several times faster.
 * @param {Listing} listing @param {string} column @param {boolean} descending
 */
function sortedAnew(listing, column, descending) {
  const { size } = listing;
  const values = new Float32Array(size);
  const bits = new Uint32Array(values.buffer);
  const keys = new Float64Array(size);
  const given = listing.columns[column];
  for (let i = 0; i < size; i++) {
    const value = given ? given[i] : i;
    values[i] = descending ? 0 - value : value + 0; // no −0
    const upwards = Number.isNaN(value) ? 0xffffffff : bits[i] >>> 31 ? ~bits[i] >>> 0 : (bits[i] | 0x80000000) >>> 0;
    keys[i] = upwards * 2 ** 20 + i;
  }
  keys.sort();
  const order = new Uint32Array(size);
  for (let i = 0; i < size; i++) order[i] = keys[i] % 2 ** 20;
  return order;
}

/**
 * The texts that search looks at, made when first asked for: all hints as one string, far faster to search than many.
 * @param {Listing} listing
 */
export function index(listing) {
  let made = texts.get(listing);
  if (!made) {
    const hints = listing.hints.join("\0").toLowerCase();
    const starts = new Uint32Array(listing.size + 1);
    for (let latent = 1; latent < listing.size; latent++) starts[latent] = hints.indexOf("\0", starts[latent - 1]) + 1;
    starts[listing.size] = hints.length + 1;
    texts.set(listing, (made = { hints, starts, labels: new Map() }));
    for (const latent of listing.labels.keys()) reindex(listing, latent);
  }
  return made;
}

/**
 * For each latent 1 where its hint, label, note, explanation, concept or number holds the words, or where it fires on the
 * token that they are, as far as that is known.
 * @param {Listing} listing @param {string} search
 */
function holding(listing, search) {
  const words = searchable(search).trim();
  const { hints, starts, labels } = index(listing);
  const found = new Uint8Array(listing.size);
  for (const needle of new Set([words, words.replaceAll(" ", " ␣")])) {
    // hints write a space as a sign
    let latent = 0;
    for (let at = hints.indexOf(needle); at >= 0; at = hints.indexOf(needle, starts[latent])) {
      while (starts[latent + 1] <= at) latent++;
      found[latent++] = 1;
    }
  }
  for (const [latent, said] of labels) if (said.includes(words)) found[latent] = 1;
  const named = listing.concepts.map((name) => searchable(name).includes(words));
  if (named.includes(true))
    for (let latent = 0; latent < listing.size; latent++) if (named[listing.concept[latent]]) found[latent] = 1;
  for (const latent of listing.firing.get(search) ?? []) found[latent] = 1;
  if (/^\d+$/.test(words))
    for (let latent = 0; latent < listing.size; latent++) if (String(latent).includes(words)) found[latent] = 1;
  return found;
}

/** What is said of a latent changed: search must see it. @param {Listing} listing @param {number} latent */
export function reindex(listing, latent) {
  const { label, note, explanation } = listing.labels.get(latent) ?? {};
  texts.get(listing)?.labels.set(latent, searchable([label, note, explanation].join("\0")));
}

/**
 * The latents that pass, in order. Dead ones only where something asks for them: the switch, a star, their own number.
 * @param {Listing} listing @param {Filter} filter @param {[string, boolean] | null} sort  null: the usual order
 * @returns {Uint32Array}
 */
export function matching(listing, filter, sort) {
  const order = sorted(listing, ...(sort ?? USUAL));
  const out = new Uint32Array(listing.size);
  const words = searchable(filter.search ?? "").trim();
  const found = words ? holding(listing, filter.search) : null;
  const number = /^\d+$/.test(words) ? Number(words) : -1;
  const concept =
    filter.concept && listing.concepts.includes(filter.concept) ? listing.concepts.indexOf(filter.concept) : NaN;
  const filtering = listing.about.filter(({ name }) => filter[name]);
  const ranges = filtering.map(({ name }) => ({
    values: listing.columns[name],
    low: filter[name][0] ?? -Infinity,
    high: filter[name][1] ?? Infinity,
  }));
  let count = 0;
  next: for (const latent of order) {
    if (!listing.has(latent)) continue;
    const star = filter.starred && listing.labels.get(latent)?.star;
    if (filter.starred && !star) continue;
    const dead = isDead(listing, latent);
    if (filter.dead ? !dead : dead && !star && latent !== number) continue;
    if (filter.concept && listing.concept[latent] !== concept) continue;
    for (const { values, low, high } of ranges) if (!(values[latent] >= low && values[latent] <= high)) continue next;
    if (found && !found[latent]) continue;
    out[count++] = latent;
  }
  return out.subarray(0, count);
}

/**
 * Counts of the living latents' values in `bins` equal parts of the axis, for a filter's histogram.
 * @param {Float32Array} values @param {(value: number) => number} place  0 … 1 along the axis
 * @param {number} bins @param {(latent: number) => boolean} skip
 */
export function binned(values, place, bins, skip) {
  const counts = new Uint32Array(bins);
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i]) || skip(i)) continue;
    counts[Math.min(bins - 1, Math.max(0, Math.floor(place(values[i]) * bins)))]++;
  }
  return counts;
}

/**
 * The axis of a filter, as it is or on a log scale. Null where nothing was measured.
 * @param {Listing} listing @param {import("./listing.js").Column} column
 * @returns {{low: number, high: number, place: (value: number) => number, value: (place: number) => number} | null}
 */
export function axis(listing, { name, scale }) {
  const values = listing.columns[name];
  const log = scale === "log";
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i]) || (log && values[i] <= 0) || isDead(listing, i)) continue;
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  if (!(low <= high)) return null;
  if (!log) [low, high] = [Math.min(0, low), high > Math.min(0, low) ? high : low + 1];
  else if (low === high) [low, high] = [low / 2, high * 2];
  const [from, to] = log ? [Math.log(low), Math.log(high)] : [low, high];
  return {
    low,
    high,
    place: (value) => ((log ? Math.log(value) : value) - from) / (to - from),
    value: (place) => (log ? Math.exp(from + place * (to - from)) : from + place * (to - from)),
  };
}

/** A way out of an empty list: the label with most of the search's words; −1 when none has one.
 * @param {Listing} listing @param {string} search */
export function nearestLabel(listing, search) {
  const words = searchable(search)
    .split(/\s+/)
    .filter((word) => word.length > 2);
  let [best, most] = [-1, 0];
  for (const [latent, { label }] of listing.labels) {
    const text = searchable(label ?? "");
    const found = words.filter((word) => text.includes(word) || text.includes(word.slice(0, -1))).length;
    if (found > most) [best, most] = [latent, found];
  }
  return best;
}
