// The tokens that a feature's decoder direction speaks for and against, and all the others as a distribution.

import { element, plain } from "../shared/dom.js";
import { token } from "../shared/tokens.js";
import { absent, panelOf } from "./definitions.js";
import { signed, tenth } from "./words.js";

const WIDTH = 292;

/** @param {import("./app.js").App} app */
export function logits(app) {
  const { logits: found, firings } = app.view;
  const aside = firings ? "at its maximum" : "at activation 1";
  if (!found)
    return app.view.absent.logits && panelOf(app, "logits", "Top and bottom logits", null, absent(app, "logits"));
  const most = Math.max(...[...found.top, ...found.bottom].map(([, value]) => Math.abs(value)), 1e-9);
  const table = (/** @type {[string, number][]} */ rows, /** @type {string} */ name) =>
    element(
      "table",
      { label: name },
      plain(
        "tbody",
        rows.map(([piece, value]) =>
          plain(
            "tr",
            plain("td.piece", token(piece)),
            plain(
              "td.bar",
              element(`i.${value < 0 ? "minus" : "plus"}`, {
                style: `width:${((30 * Math.abs(value)) / most).toFixed(1)}px`,
              }),
            ),
            plain("td", signed(value)),
          ),
        ),
      ),
    );
  return panelOf(
    app,
    "logits",
    "Top and bottom logits",
    aside,
    found.counts?.length && distribution(found.edges, found.counts),
    plain("div.pair", table(found.top, "tokens it speaks for"), table(found.bottom, "tokens it speaks against")),
  );
}

/** @param {number[]} edges @param {number[]} counts */
function distribution(edges, counts) {
  const most = Math.max(...counts, 1);
  const [low, high] = [edges[0], edges[edges.length - 1]];
  const x = (/** @type {number} */ value) => ((value - low) / (high - low || 1)) * WIDTH;
  const bars = counts.flatMap((count, i) => {
    if (!count) return [];
    const height = Math.max(0.9, (18 * count) / most);
    return [
      element(`rect.${edges[i] + edges[i + 1] < 0 ? "minus" : "plus"}`, {
        x: tenth(x(edges[i])),
        y: (19 - height).toFixed(1),
        width: Math.max(0.5, x(edges[i + 1]) - x(edges[i]) - 0.8).toFixed(1),
        height: tenth(height),
      }),
    ];
  });
  const zero = low < 0 && high > 0 ? `M${tenth(x(0))} 0V20` : "";
  return element(
    "svg.distribution",
    {
      viewBox: `0 0 ${WIDTH} 20`,
      preserveAspectRatio: "none",
      role: "img",
      label: `logit effects over the vocabulary, from ${signed(low)} to ${signed(high)}`,
    },
    bars,
    element("path.axis", { d: `M0 19.5H${WIDTH}${zero}` }),
  );
}
