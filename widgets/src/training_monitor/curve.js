// One small line chart in SVG: a curve over the tokens trained on, with a cursor that reads out the nearest point.

import { element, plain } from "../shared/dom.js";
import { compact, extent, linear, nearest, number, path, ticks } from "../shared/numbers.js";

const LEFT = 40;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;

/**
 * @param {string} name  metric, also the class that gives the colour
 * @param {string} label  what the metric is called
 * @param {AbortSignal} signal  ends the listeners
 */
export function curve(name, label, signal) {
  const value = element("b");
  const svg = element("svg", { tabindex: "0", role: "img" });
  const panel = plain(`div.panel.${name}`, plain("h3", label, value), svg);
  /** @type {ArrayLike<number>} */ let xs = [];
  /** @type {ArrayLike<number>} */ let ys = [];
  let total = 1;
  let cursor = NaN; // tokens at the point read out; NaN: the last point, without a mark

  function draw() {
    const range = extent(ys);
    panel.hidden = !range;
    const [width, height] = [svg.clientWidth, svg.clientHeight]; // 0 while the view is detached
    if (!width || !range) return;
    const last = lastFinite(ys);
    const reading = !Number.isNaN(cursor);
    const at = reading ? nearest(xs, ys, cursor) : last;
    value.textContent = number(ys[at]);
    const x = linear([0, total], [LEFT, width - RIGHT]);
    const y = linear(range, [height - BOTTOM, TOP]);
    const tokens = ticks(0, total, width > 300 ? 5 : 3);
    svg.ariaLabel = `${label}: ${number(ys[last])} after ${compact(xs[last])} tokens`;
    svg.replaceChildren(
      ...ticks(range[0], range[1], 5).flatMap((tick) => [
        element("line.grid", { x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
        element("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, number(tick)),
      ]),
      element("line.axis", { x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM + 2, y2: height - BOTTOM + 2 }),
      ...tokens.map((tick) =>
        element(
          "text",
          { x: x(tick), y: height - 4, "text-anchor": tick === 0 ? "start" : x(tick) > width - 24 ? "end" : "middle" },
          compact(tick) + (tick === 0 ? " tokens" : ""),
        ),
      ),
      element("path.line", { d: path(xs, ys, x, y) }),
      ...(!reading
        ? []
        : [
            element("line.cursor", { x1: x(xs[at]), x2: x(xs[at]), y1: TOP, y2: height - BOTTOM + 2 }),
            element("circle.dot", { cx: x(xs[at]), cy: y(ys[at]), r: 3.5 }),
            element(
              "text",
              { x: Math.min(Math.max(x(xs[at]), LEFT + 30), width - 40), y: TOP + 2, "text-anchor": "middle" },
              `${compact(xs[at])} tokens`,
            ),
          ]),
    );
  }

  /** @param {number} tokens */
  function read(tokens) {
    cursor = tokens;
    draw();
  }

  svg.addEventListener(
    "pointermove",
    (/** @type {PointerEvent} */ event) => {
      const box = svg.getBoundingClientRect();
      read(linear([LEFT, box.width - RIGHT], [0, total])(event.clientX - box.left));
    },
    { signal },
  );
  svg.addEventListener("pointerleave", () => read(NaN), { signal });
  svg.addEventListener("blur", () => read(NaN), { signal });
  svg.addEventListener(
    "keydown",
    (/** @type {KeyboardEvent} */ event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const measured = Array.from(ys, (_, i) => i).filter((i) => Number.isFinite(ys[i]));
      const now = Number.isNaN(cursor) ? measured.length - 1 : measured.indexOf(nearest(xs, ys, cursor));
      read(xs[measured[Math.min(Math.max(now + step, 0), measured.length - 1)]] ?? NaN);
    },
    { signal },
  );

  return {
    panel,
    draw,
    /** @param {Float64Array} tokens @param {Float64Array} values @param {number} all  tokens of the whole training */
    show(tokens, values, all) {
      [xs, ys, total] = [tokens, values, Math.max(all, 1)];
      draw();
    },
  };
}

/** @param {ArrayLike<number>} values  Index of the last finite value; −1 when there is none. */
function lastFinite(values) {
  let i = values.length - 1;
  while (i >= 0 && !Number.isFinite(values[i])) i--;
  return i;
}
