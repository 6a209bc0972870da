// A filter as a histogram with two handles, over all living latents at once. The numbers below are fields to type in.

import { element, plain } from "../shared/dom.js";
import { axis, binned } from "./filtering.js";
import { isDead } from "./listing.js";
import { parsed, range as words, written } from "./words.js";

const BINS = 40;
const STEPS = 200;

/**
 * @param {import("./listing.js").Listing} listing @param {import("./listing.js").Column} column @param {string} label
 * @param {(range: [number | null, number | null] | undefined) => void} changed
 * @returns {{node: HTMLElement, show: (range: [number | null, number | null] | undefined) => void} | null}  null: nothing was measured
 */
export function rangeFilter(listing, column, label, changed) {
  const scale = axis(listing, column);
  if (!scale) return null;
  const { low: lowest, high: highest, place, value } = scale;
  const counts = binned(listing.columns[column.name], place, BINS, (latent) => isDead(listing, latent));
  const most = Math.max(...counts, 1);
  const bars = [...counts].map((count, i) => {
    const height = count ? Math.max(1, (20 * count) / most) : 0;
    return element("rect", { x: i * 3.5, width: 2.9, y: 21 - height, height: height + 1 });
  });
  const handle = (/** @type {number} */ side) =>
    element("input", {
      type: "range",
      min: 0,
      max: STEPS,
      step: 1,
      label: `${label} ${side ? "at most" : "at least"}`,
      oninput: () => moved(side),
    });
  const field = (/** @type {number} */ side) =>
    element("input.end", {
      type: "text",
      inputmode: "decimal",
      label: `${label} ${side ? "at most" : "at least"}, number`,
      onchange: () => typed(side),
    });
  const handles = [handle(0), handle(1)];
  const fields = [field(0), field(1)];
  const node = element(
    "div.range",
    { role: "group", label: `filter by ${label}` },
    element("svg", { viewBox: "0 0 140 22", preserveAspectRatio: "none", "aria-hidden": "true" }, bars),
    plain("div.handles", handles),
    plain("div.ends", plain("span.grow.cut", label), fields[0], "–", fields[1]),
  );

  /** @type {[number | null, number | null]} */ let now = [null, null];

  function tell() {
    changed(now[0] === null && now[1] === null ? undefined : [...now]);
  }

  /** @param {number} side */
  function moved(side) {
    // One handle pushes the other ahead of it.
    const at = Number(handles[side].value);
    const other = handles[1 - side];
    if (side ? at < Number(other.value) : at > Number(other.value)) other.value = at;
    const end = (/** @type {number} */ i, /** @type {number} */ open) => {
      const at = Number(handles[i].value);
      return at === open ? null : Number(value(at / STEPS).toPrecision(4));
    };
    now = [end(0, 0), end(1, STEPS)];
    draw();
    tell();
  }

  /** @param {number} side */
  function typed(side) {
    const name = column.names?.indexOf(fields[side].value) ?? -1;
    now[side] = name < 0 ? parsed(column.format, fields[side].value) : name;
    const [low, high] = now;
    if (low !== null && high !== null && low > high) now[1 - side] = now[side];
    draw();
    tell();
  }

  function draw() {
    const [from, to] = [now[0] ?? -Infinity, now[1] ?? Infinity];
    bars.forEach((bar, i) => {
      const middle = value((i + 0.5) / BINS);
      bar.setAttribute("class", middle >= from && middle <= to ? "in" : "out");
    });
    [now[0] ?? lowest, now[1] ?? highest].forEach((end, i) => {
      // Of whole numbers the outermost that pass.
      const whole = column.format === "whole" && Math[i ? "floor" : "ceil"](end);
      fields[i].value = whole === false ? words(column.format, end) : written(column)(whole);
      fields[i].style.width = `${fields[i].value.length + 0.6}ch`;
      handles[i].value = Math.round(STEPS * Math.min(1, Math.max(0, place(end))));
      handles[i].setAttribute("aria-valuetext", fields[i].value);
    });
  }

  draw();
  return {
    node,
    show(range) {
      now = range ? [...range] : [null, null];
      draw();
    },
  };
}
