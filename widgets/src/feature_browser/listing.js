// What the list knows of every latent, decoded from the one message that brings it; and the views of single features.

import { bytes, float32, int16 } from "../shared/buffers.js";
import { partOf } from "../shared/numbers.js";
import { visible } from "../shared/tokens.js";

/**
 * @typedef {object} Column  a number of each latent
 * @property {string} name @property {string} title @property {string} head  the title where room is short
 * @property {string} of  "concept" where it judges the matched concept
 * @property {string} scale @property {string} format @property {string} unit
 * @property {string[]} [names]  what its whole numbers stand for
 * @property {boolean} filterable @property {boolean} in_header
 *
 * @typedef {{label?: string, star?: boolean, note?: string, saved?: string, explanation?: string, [column: string]: any}} Label
 * @typedef {object} Listing
 * @property {string} store  what tells it from every other, wherever it is opened
 * @property {string} title @property {string} model @property {string} site @property {string} facts
 * @property {number} size  latents of the dictionary
 * @property {Column[]} about  the columns; the first two stand in every row
 * @property {Record<string, Float32Array>} columns  and "usual": each latent's place in the usual order
 * @property {{by: string, words: string}} order  the usual one: the column that it mostly goes by, and all that it does
 * @property {Uint8Array} dead  1: never fires
 * @property {Int16Array} concept @property {string[]} concepts
 * @property {string[]} hints
 * @property {Map<number, Label>} labels
 * @property {Map<string, Float32Array | number[]>} firing  a search → the latents that fire on the token that it names
 * @property {number} version  of the labels
 * @property {Record<string, {title: string, text: string, code?: string}>} definitions
 * @property {{prompt?: string, edit?: string, save?: string, token?: string}} off  what cannot be done here, and why
 * @property {boolean} hasModel
 * @property {(latent: number) => boolean} has  whether it can be opened: of a saved file, what is inside
 * @property {number} count  of those
 */

/** @param {any} content @param {DataView[]} buffers @returns {Listing} */
export function decodeListing(content, buffers) {
  /** @type {Record<string, Float32Array>} */ const columns = {};
  content.columns.forEach((/** @type {Column} */ { name }, /** @type {number} */ i) => {
    columns[name] = float32(buffers[i]);
    if (columns[name].length !== content.d_sae)
      throw new Error(`${name} has ${columns[name].length} entries for ${content.d_sae} latents`);
  });
  const rest = content.columns.length + 1;
  columns.usual = float32(buffers[rest - 1]);
  const hints = new TextDecoder().decode(bytes(buffers[rest + 2])).split("\0");
  if (hints.length !== content.d_sae && content.d_sae)
    throw new Error(`${hints.length} hints for ${content.d_sae} latents`);
  const { store, title, model, site, facts, order, concepts, definitions, version, off, has_model: hasModel } = content;
  const inside = content.inside ? new Set(content.inside) : null;
  const labels = new Map(content.labels.map((/** @type {any} */ one) => [one.latent, one]));
  return {
    store,
    title,
    model,
    site,
    facts,
    size: content.d_sae,
    about: content.columns,
    columns,
    order,
    concept: int16(buffers[rest]),
    dead: bytes(buffers[rest + 1]),
    concepts,
    hints,
    labels,
    firing: new Map(),
    version,
    definitions,
    off,
    hasModel,
    has: (latent) => inside?.has(latent) ?? true,
    count: inside?.size ?? content.d_sae,
  };
}

/** @param {Listing} listing @param {number} latent */
export const isDead = (listing, latent) => listing.dead[latent] === 1;

/** How many never fired. @param {Listing} listing */
export const deadOf = ({ dead, size }) => {
  const count = dead.reduce((sum, one) => sum + one, 0);
  return `dead ${partOf(count, size)}`;
};

const CONCEPT = /\bconcept\((['"]?)([^()'"]+)\1\)/g; // in a predicate; in a list the name alone says as much

/**
 * What a latent is called: the label that a person gave (`own`), else its best explanation (`explained`), else the words
 * that it fires on most.
 * @param {Listing} listing @param {number} latent @returns {{text: string, own: boolean, explained?: boolean}}
 */
export function nameOf(listing, latent) {
  const { label, explanation } = listing.labels.get(latent) ?? {};
  if (label) return { text: visible(label), own: true };
  if (explanation) return { text: visible(explanation).replace(CONCEPT, "$2"), own: false, explained: true };
  const hint = isDead(listing, latent) ? "never fired in this store" : visible(listing.hints[latent] ?? "");
  return { text: hint, own: false };
}

/**
 * @typedef {object} Example
 * @property {number} value @property {number} document @property {number} position @property {number} peak
 * @property {string[]} pieces @property {number[][]} tokens @property {number} copies
 * @property {Float32Array} values @property {Float32Array} logitEffect @property {Float32Array} lossEffect  nan: none
 * @property {{piece: number | null, text: string, back: number, head: number, contribution: number}[]} [sources]
 * @typedef {{low: number, high: number, count: number, examples: Example[]}} Band
 */

/** The view of a feature, its examples' numbers put back in their places. @param {any} content @param {DataView[]} buffers */
export function decodeView(content, buffers) {
  const numbers = float32(buffers[0]);
  const example = (/** @type {any} */ one) => {
    const column = (/** @type {number} */ k) =>
      numbers.subarray(one.at + k * one.pieces.length, one.at + (k + 1) * one.pieces.length);
    return { ...one, values: column(0), logitEffect: column(1), lossEffect: column(2) };
  };
  /** @type {Record<string, any[]>} */ const examples = {};
  for (const [kind, all] of Object.entries(content.view.examples))
    examples[kind] = /** @type {any[]} */ (all).map((one) =>
      one.examples ? { ...one, examples: one.examples.map(example) } : example(one),
    );
  return { ...content.view, examples };
}
