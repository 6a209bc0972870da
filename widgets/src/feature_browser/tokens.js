// A token of an example: its background is the activation, its underline the loss effect.

import { element } from "../shared/dom.js";
import { tokenNodes } from "../shared/tokens.js";

/** How strong the palest firing is drawn. */
const FLOOR = 0.1;

/** Share of the scale that an activation is drawn with: 0 only for silence, 1 for what never fired where the scale comes from.
 * @param {number} value @param {number} most */
export const strength = (value, most) => value && FLOOR + (1 - FLOOR) * Math.min(1, Math.abs(value / most));

/**
 * @param {string} text @param {number} activation @param {number} most  activation of the full colour
 * @param {number} [loss] @param {number} [mostLoss]  loss effect of the thickest underline
 */
export function tokenOf(text, activation, most, loss = NaN, mostLoss = 0) {
  const classes = ["tk"];
  let style = "";
  if (activation) {
    classes.push(activation < 0 ? "minus" : "plus");
    style += `--a:${strength(activation, most).toFixed(2)};`;
  }
  if (loss && mostLoss > 0) {
    classes.push(loss > 0 ? "helps" : "hurts");
    style += `--l:${Math.min(1, Math.abs(loss) / mostLoss).toFixed(2)}`;
  }
  return element(`span.${classes.join(".")}`, { style: style || null }, tokenNodes(text, true));
}

/**
 * The pieces around the peak that a line can hold: at least `chars` characters each way, or to the ends.
 * @param {string[]} pieces @param {number} peak @param {number} chars @returns {[number, number]}  from, to (exclusive)
 */
export function around(pieces, peak, chars) {
  let [from, to] = [peak, peak + 1];
  for (let left = chars; from > 0 && left > 0;) left -= pieces[--from].length;
  for (let left = chars; to < pieces.length && left > 0;) left -= pieces[to++].length;
  return [from, to];
}

/** Position in the document of a piece, in tokens. @param {{tokens: number[][], position: number, peak: number}} example @param {number} piece */
export function positionOf({ tokens, position, peak }, piece) {
  let at = position;
  for (let i = peak; i < piece; i++) at += tokens[i].length;
  for (let i = piece; i < peak; i++) at -= tokens[i].length;
  return at;
}
