// Text of a model as a person can read it: spaces, line ends and tabs as faint signs, characters that draw nothing or
// turn the text around as their number. Everything becomes a text node.

import { element, plain } from "./dom.js";

const SIGNS = /** @type {Record<string, string>} */ ({ " ": "␣", "\n": "↵", "\t": "⇥" });
// Controls, soft hyphen, marks and overrides of direction, invisible operators, byte order mark, annotation marks.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/u;
const JOINERS = /[\u200c\u200d]/; // needed inside emoji and in Persian; hidden only when alone

/**
 * Text in parts: [sign or hidden, text]. In a list a space is shown as a sign; in running text it stays a space.
 * @param {string} text @param {boolean} [running]
 * @returns {[boolean, string][]}
 */
export function parts(text, running = false) {
  /** @type {[boolean, string][]} */ const out = [];
  const alone = [...text].length === 1;
  for (const char of text) {
    const sign = running && char === " " ? undefined : SIGNS[char];
    const faint = sign !== undefined || (HIDDEN.test(char) && (alone || !JOINERS.test(char)));
    const shown =
      sign ?? (faint ? `⟨${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩` : char);
    const last = out.at(-1);
    if (last && last[0] === faint) last[1] += shown;
    else out.push([faint, shown]);
  }
  return out;
}

/** @param {string} text  A person's or a model's text on one line, nothing in it hidden; spaces stay. */
export function visible(text) {
  return parts(text, true)
    .map(([, part]) => part)
    .join("");
}

/** @param {string} text  Its escaped form, for a tooltip. */
export function escaped(text) {
  return visible(JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text));
}

/** @param {string} text @param {boolean} [running] @returns {(Node | string)[]} */
export function tokenNodes(text, running = false) {
  return parts(text, running).map(([faint, part]) => (faint ? plain("span.faint", part) : part));
}

/** @param {string} text  A token by itself, with its escaped form as tooltip. */
export function token(text) {
  return element("span.mono", { title: escaped(text) }, tokenNodes(text));
}
