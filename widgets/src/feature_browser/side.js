// The panels beside the examples. Where there is room they stand under one another; else one at a time, by tabs.

import { element, fill, plain } from "../shared/dom.js";
import { heads } from "./heads.js";
import { histogram } from "./histogram.js";
import { logits } from "./logits.js";
import { neighbours } from "./neighbours.js";
import { tablist } from "./tabs.js";

const TITLES = /** @type {const} */ ([
  ["histogram", "Histogram"],
  ["heads", "Heads"],
  ["logits", "Logits"],
  ["neighbours", "Neighbours"],
]);

/**
 * @param {import("./app.js").App} app
 * @param {(draw: () => any) => any} part  what a panel draws, or why it cannot
 */
export function side(app, part) {
  const draws = {
    histogram: () => histogram(app),
    heads: () => heads(app),
    logits: () => logits(app),
    neighbours: neighbours(app),
  };
  let wanted = "logits";
  /** @type {Map<string, HTMLElement>} */ let panels = new Map();
  const label = `histogram, ${app.listing.definitions.sources ? "heads, " : ""}logits, neighbours`;
  const tabs = tablist(label, TITLES, (name) => {
    wanted = name;
    show();
  });
  const body = element("div.panels", { role: "tabpanel", label });

  /** Which one is seen where there is room for one. */
  function show() {
    const chosen = panels.has(wanted) ? wanted : [...panels.keys()][0];
    for (const [name, panel] of panels) panel.classList.toggle("on", name === chosen);
    tabs.show(chosen, (name) => panels.has(name));
  }

  return {
    node: element("aside.side", { label }, plain("div.tabs", tabs.node), body),
    draw() {
      panels = new Map();
      for (const [name] of app.view ? TITLES : []) {
        const panel = part(draws[name]);
        if (panel) panels.set(name, panel);
      }
      fill(body, ...panels.values());
      show();
    },
  };
}
