// Numbers and times as this browser writes them. Pure functions, tested in node.

const MINUS = "−";

/** @param {number | null | undefined} value @param {number} [digits]  With its sign; "–" for nothing. */
export function signed(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return `${value < 0 ? MINUS : "+"}${Math.abs(value).toFixed(digits)}`;
}

/** @param {number | null | undefined} value @param {number} [digits] */
export function fixed(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value
    .toFixed(digits)
    .replace(/^-(?=[0.]+$)/, "")
    .replace("-", MINUS); // zero has no sign
}

/** A share between −1 and 1 without its leading zero: .83, −.02, 1.00. @param {number | null | undefined} value */
export function share(value) {
  return fixed(value).replace(/^(−?)0\./, "$1.");
}

/** A share in per cent with as many digits as it needs. @param {number} value */
export function percent(value) {
  const of = 100 * value;
  if (Number.isNaN(of)) return "–";
  if (of === 0) return "0";
  if (of < 0.0001) return of.toExponential(0).replace("-", MINUS);
  return of.toFixed(of < 0.001 ? 4 : of < 0.1 ? 3 : of < 10 ? 2 : 1);
}

/** A column's number, by its format. */
export const WRITE = /** @type {Record<string, (value: number) => string>} */ ({
  fixed: (value) => fixed(value),
  percent,
  share,
  signed: (value) => signed(value, 3),
  whole: (value) => fixed(value, 0),
});

/** How a column's numbers are written. @param {import("./listing.js").Column} column @returns {(value: number) => string} */
export const written = ({ format, names }) => (names?.length ? (value) => names[value] ?? "–" : WRITE[format]);

/** A column's title over its numbers. @param {import("./listing.js").Column} column @param {"title" | "head"} [which] */
export const titled = (column, which = "title") => column[which] + (column.unit === "%" ? " %" : "");

/** One end of a filter, in the unit that its label names. @param {string} format @param {number} value */
export function range(format, value) {
  if (format === "percent")
    return value < 1e-6 ? percent(value) : String(Number((100 * value).toPrecision(value < 1e-5 ? 1 : 2)));
  return format === "fixed" ? (Math.abs(value) < 10 ? fixed(value, 1) : fixed(value, 0)) : share(value);
}

/** What was typed into it; null for nothing or no number. @param {string} format @param {string} text */
export function parsed(format, text) {
  const value = Number.parseFloat(text.replace(MINUS, "-").replace("%", "").replace(",", ".").trim());
  if (!Number.isFinite(value)) return null;
  return format === "percent" ? value / 100 : value;
}

/** When something was saved: 14:02 today, else the day. @param {string | undefined} saved @param {Date} [now] */
export function savedAt(saved, now = new Date()) {
  const at = new Date(saved ?? "");
  if (Number.isNaN(at.getTime())) return "";
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  if (at.toDateString() === now.toDateString()) return `${two(at.getHours())}:${two(at.getMinutes())}`;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** A value as Python writes it. @param {any} value @returns {string} */
export function python(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null || value === undefined) return "None";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([key, one]) => `${JSON.stringify(key)}: ${python(one)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}

/** A whole number, thousands separated. @param {number} count */
export const whole = (count) => count.toLocaleString("en-US");

/** Words for a count: 1 copy, 3 copies. @param {number} count @param {string} one @param {string} many */
export const counted = (count, one, many) => `${whole(count)} ${count === 1 ? one : many}`;

/** A length or a place in a drawing, as an attribute says it. @param {number} value */
export const tenth = (value) => value.toFixed(1);
