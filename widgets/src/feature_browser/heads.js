// Which heads of an attention layer a feature comes from, and which tokens the peak of an example does. A head has one
// colour, in the panel and under the tokens; its number is always said too.

import { element, fill, plain } from "../shared/dom.js";
import { escaped, token } from "../shared/tokens.js";
import { panelOf } from "./definitions.js";
import { counted, share, signed } from "./words.js";

/** @typedef {import("./listing.js").Example} Example */

const MOST = 8; // heads drawn, those of the largest decoder shares

/** The number of a head behind its colour. @param {number} head */
const named = (head) => plain("span", element("i.by", { style: `--k:${head}` }), `head ${head}`);

/** @param {import("./app.js").App} app */
export function heads(app) {
  if (!app.view.heads) return null;
  const { decoder, activation, family, induction, local } = app.view.heads;
  const order = /** @type {number[]} */ (decoder).map((_, head) => head).sort((a, b) => decoder[b] - decoder[a]);
  const rest = order.slice(MOST);
  const cell = (/** @type {number | undefined} */ value) =>
    plain("td.value", element("i", { style: `--w:${44 * (value ?? 0)}px` }), plain("span", share(value)));
  return panelOf(
    app,
    "sources",
    "Heads and sources",
    family,
    plain(
      "table.neighbours",
      plain("thead", plain("tr", plain("th.name", "share by head"), plain("th", "decoder"), plain("th", "examples"))),
      plain(
        "tbody",
        order
          .slice(0, MOST)
          .map((head) => plain("tr", plain("td.name", named(head)), cell(decoder[head]), cell(activation?.[head]))),
      ),
    ),
    plain("p.dim.small", [
      rest.length > 0 &&
        `${counted(rest.length, "more head has", "more heads have")} ${share(rest.reduce((sum, head) => sum + decoder[head], 0))} of the decoder. `,
      family && `From behind an earlier copy ${share(induction)}, from at most five tokens back ${share(local)}.`,
    ]),
  );
}

/**
 * Marks the tokens that a peak comes from, and says them in a line.
 * @param {HTMLElement} line  what is said
 */
export function tracer(line) {
  /** @type {HTMLElement[]} */ let marked = [];

  /** @param {Map<number, HTMLElement>} spans  of the example, by piece @param {Example} example @param {number} at  the piece */
  return (spans, { peak, sources }, at) => {
    for (const span of marked) {
      span.classList.remove("by", "less");
      span.removeAttribute("title");
    }
    marked = [];
    const all = (at === peak && sources) || [];
    const most = Math.max(...all.map(({ contribution }) => Math.abs(contribution)));
    for (const { piece, head, contribution } of all) {
      const span = spans.get(piece ?? -1);
      if (!span) continue;
      if (!marked.includes(span)) {
        // The strongest comes first: the others are named in the tooltip.
        marked.push(span);
        span.classList.add("by");
        span.classList.toggle("less", contribution < 0);
        span.style.setProperty("--k", String(head));
        span.style.setProperty("--s", String(Math.abs(contribution / most)));
      }
      span.title += `head ${head}: ${signed(contribution)}\n`;
    }
    fill(
      line,
      all.length
        ? all.map(({ head, text, back, contribution }) =>
            element(
              "span",
              { title: `${escaped(text)}, ${back} back` },
              named(head),
              " ← ",
              plain("b", token(text), ` ${signed(contribution)}`),
            ),
          )
        : `Where it comes from is kept at the peaks of top examples.`,
    );
  };
}
