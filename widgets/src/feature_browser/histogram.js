// The histogram of a feature's firings. It is the legend: a bar has the colour that a token of that activation has. On
// the tabs of intervals and quantiles it shows where the bands are cut.

import { element, plain } from "../shared/dom.js";
import { absent, panelOf } from "./definitions.js";
import { strength } from "./tokens.js";
import { fixed, tenth, whole } from "./words.js";

const WIDTH = 292;
const HEIGHT = 56;

/** Heights of bars on a log scale, 1 for the highest; a count of one is still seen. @param {number[]} counts */
export function heights(counts) {
  const most = Math.log(Math.max(...counts, 1) + 1);
  return counts.map((count) => Math.log(count + 1) / most);
}

/** Where bands are cut, within the axis. @param {{low: number}[]} bands  strongest first @param {number} low @param {number} high */
export const cutsOf = (bands, low, high) =>
  bands
    .slice(0, -1)
    .flatMap((band) => [band.low, -band.low])
    .filter((cut) => cut > low && cut < high);

/** @param {import("./app.js").App} app */
export function histogram(app) {
  const { view } = app;
  const silent = view.firings > 0 && `${(100 * (1 - view.density)).toFixed(view.density < 0.0005 ? 3 : 2)} % at zero`;
  const drawn = view.histogram;
  if (!drawn?.counts?.length || !view.firings)
    return panelOf(app, "histogram", "Activation histogram", silent, absent(app, "histogram", "Nothing to draw."));
  const { edges, counts } = drawn;
  const [low, high] = [Math.min(0, edges[0]), edges[edges.length - 1]];
  const most = Math.max(Math.abs(low), Math.abs(high));
  const x = (/** @type {number} */ value) => ((value - low) / (high - low || 1)) * WIDTH;
  const tall = heights(counts);
  const bars = counts.flatMap((/** @type {number} */ count, /** @type {number} */ i) => {
    if (!count) return [];
    const middle = (edges[i] + edges[i + 1]) / 2;
    const [from, width, height] = [x(edges[i]), Math.max(0.5, x(edges[i + 1]) - x(edges[i]) - 1), 46 * tall[i]];
    return [
      element(
        `rect.${middle < 0 ? "minus" : "plus"}`,
        {
          x: tenth(from),
          y: (HEIGHT - height).toFixed(1),
          width: tenth(width),
          height: tenth(height),
          style: `--a:${strength(middle, most).toFixed(2)}`,
        },
        plain("title", `${fixed(edges[i])} – ${fixed(edges[i + 1])}: ${whole(count)}`),
      ),
      element(`path.top.${middle < 0 ? "minus" : "plus"}`, {
        d: `M${tenth(from)} ${(HEIGHT - height).toFixed(1)}h${tenth(width)}`,
      }),
    ];
  });
  const tab = app.model.get("tab");
  const bands = tab === "interval" || tab === "quantile" ? (view.examples[tab] ?? []) : [];
  // Bands are of sizes: of signed codes each is cut on both sides of zero, as far as that side goes.
  const cuts = cutsOf(bands, low, high).map((cut) => element("path.mark", { d: `M${tenth(x(cut))} 2V${HEIGHT + 3}` }));
  const mean = view.mean === null ? null : element("path.mean", { d: `M${tenth(x(view.mean))} ${HEIGHT - 3}v7` });
  const place = view.mean === null ? 0 : (100 * x(view.mean)) / WIDTH;
  const more = [
    ["std", view.std],
    ["skewness", view.skewness],
    ["kurtosis", view.kurtosis],
  ].filter(([, value]) => value !== null);
  return panelOf(
    app,
    "histogram",
    "Activation histogram",
    silent,
    element(
      "svg.bars",
      {
        viewBox: `0 0 ${WIDTH} 62`,
        preserveAspectRatio: "none",
        role: "img",
        label: `histogram of non-zero activations from ${fixed(low)} to ${fixed(high)}, counts on a log scale`,
      },
      bars,
      element("path.axis", { d: `M0 ${HEIGHT}.5H${WIDTH}` }),
      low < 0 && element("path.axis", { d: `M${x(0)} 6V${HEIGHT}` }),
      mean,
      cuts,
    ),
    plain(
      "div.scale.small.dim",
      plain("span", low < 0 ? `min ${fixed(low)}` : "0"),
      view.mean !== null &&
        element(
          "span.at",
          { style: `left:${Math.min(62, Math.max(low < 0 ? 35 : 16, place)).toFixed(1)}%` },
          `mean ${fixed(view.mean)}`,
        ),
      plain("span", `max ${fixed(high)}`),
    ),
    more.length > 0 && plain("p.small.dim.moments", more.map(([name, value]) => `${name} ${fixed(value)}`).join(" · ")),
  );
}
