// Numbers as text, and the small arithmetic of axes. Pure functions, tested in node.

/** @param {number} value  Four significant digits at most, thousands separated, a true minus sign, "–" for nothing. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size >= 1000 || Number.isInteger(value)
      ? Math.round(value).toLocaleString("en-US")
      : size !== 0 && size < 1e-3
        ? value.toExponential(2)
        : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
}

/** @param {number} value  A count in few characters: 950, 12.3k, 1.23M. */
export function compact(value) {
  for (const [size, sign] of /** @type {const} */ ([
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]))
    if (value >= size) return Number((value / size).toPrecision(3)) + sign;
  return String(Math.round(value));
}

/** Some of all, as a count and a share: 37 of 1,024 (3.6 %). @param {number} count @param {number} size */
export const partOf = (count, size) => `${number(count)} of ${number(size)} (${((100 * count) / size).toFixed(1)} %)`;

/** @param {number} seconds  0:07, 3:20, 1:02:03; "–" where unknown. */
export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  const s = Math.round(seconds);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const minutes = Math.floor(s / 60);
  return minutes < 60 ? `${minutes}:${two(s % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(s % 60)}`;
}

/**
 * Round values from 1, 2, 5 × 10ⁿ inside [low, high], at most about `count` of them.
 * @param {number} low @param {number} high @param {number} count @returns {number[]}
 */
export function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((size) => raw / power <= size + 1e-9) ?? 10);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++)
    out.push(Number((k * step).toPrecision(12)));
  return out;
}

/**
 * Lowest and highest finite value, a little apart even when all are equal; null when there is none.
 * @param {ArrayLike<number>} values @returns {[number, number] | null}
 */
export function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) continue;
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
  }
  if (low > high) return null;
  const apart = high - low || Math.abs(high) * 0.1 || 1;
  return high > low ? [low, high] : [low - apart / 2, high + apart / 2];
}

/**
 * @param {[number, number]} domain @param {[number, number]} range
 * @returns {(value: number) => number}
 */
export function linear([a, b], [c, d]) {
  return (value) => c + ((value - a) / (b - a || 1)) * (d - c);
}

/**
 * An SVG path through the points whose coordinates are both finite; gaps are bridged.
 * @param {ArrayLike<number>} xs @param {ArrayLike<number>} ys
 * @param {(x: number) => number} x @param {(y: number) => number} y
 */
export function path(xs, ys, x, y) {
  const parts = [];
  for (let i = 0; i < xs.length; i++)
    if (Number.isFinite(ys[i])) parts.push(`${parts.length ? "L" : "M"}${x(xs[i]).toFixed(1)} ${y(ys[i]).toFixed(1)}`);
  return parts.join("");
}

/**
 * Index of the point with a finite y whose x is nearest to `at`; −1 when there is none.
 * @param {ArrayLike<number>} xs @param {ArrayLike<number>} ys @param {number} at
 */
export function nearest(xs, ys, at) {
  let best = -1;
  for (let i = 0; i < xs.length; i++)
    if (Number.isFinite(ys[i]) && (best < 0 || Math.abs(xs[i] - at) < Math.abs(xs[best] - at))) best = i;
  return best;
}
