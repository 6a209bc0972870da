// What stands over examples, in words: a sentence a tab, a line a band; and the scale that all of them are drawn on.

import { element, plain } from "../shared/dom.js";
import { counted, fixed } from "./words.js";

/** @typedef {import("./listing.js").Example} Example */

/** What the full colour and the thickest underline stand for. @param {any[]} examples @param {any} view */
export const scaleOf = (examples, view) => ({
  most: Math.max(Math.abs(view.maximum), Math.abs(view.minimum)),
  loss: Math.max(
    0,
    ...examples.map((one) =>
      one.lossEffect.reduce(
        (/** @type {number} */ a, /** @type {number} */ b) => (Math.abs(b) > a ? Math.abs(b) : a),
        0,
      ),
    ),
  ),
});

/** The line over a band. @param {any} band @param {number} k @param {number} bands @param {boolean} equalCount */
export function bandHead(band, k, bands, equalCount) {
  const name = !equalCount
    ? `interval ${bands - k} of ${bands}`
    : `${Math.round((100 * (bands - k - 1)) / bands)} – ${Math.round((100 * (bands - k)) / bands)} % of firings`;
  return plain(
    "div.band",
    plain("b", `${fixed(band.low)} – ${fixed(band.high)}`),
    name,
    element("span.grow"),
    counted(band.count, "token", "tokens"),
  );
}

/** What the tab shows, in a sentence. @param {string} tab @param {any} view @param {any[]} all @param {Example[]} flat */
export function captionOf(tab, view, all, flat) {
  const copies = flat.reduce((sum, one) => sum + (one.copies ?? 0), 0);
  const hidden = copies > 0 ? ` ${counted(copies, "copy", "copies")} hidden.` : "";
  const bands = counted(all.length, "band", "bands");
  const sign = view.minimum < 0;
  return (
    {
      top: `${sign ? "Furthest from zero first" : "Strongest first"}, the peak token in one column.${hidden}`,
      interval: `${sign ? "Sizes |z| from " : ""}0 – ${fixed(scaleOf([], view).most)} cut into ${bands} of equal width; examples drawn at random in each.${hidden}`,
      quantile: `Firings cut into ${bands} of equal count; examples drawn at random in each.${hidden}`,
      random: `Firings drawn at random, not chosen for strength: what the feature mostly does.${hidden}`,
      near: `It did not fire here, but nearly. Left: its pre-activation${view.firings ? " less that of its weakest firing" : ""}.${hidden}`,
    }[tab] ?? ""
  );
}
