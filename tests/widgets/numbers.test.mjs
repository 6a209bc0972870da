// Pure functions of the widgets. Run by test_javascript.py, or: node --test tests/widgets/*.test.mjs
import assert from "node:assert/strict";
import test from "node:test";
import { columns, float64 } from "../../widgets/src/shared/buffers.js";
import { compact, duration, extent, linear, nearest, number, path, ticks } from "../../widgets/src/shared/numbers.js";

test("numbers as a person reads them", () => {
  const cases = [[0.81234, "0.8123"], [16, "16"], [16384, "16,384"], [-1234.5, "−1,234"], [1.2345e-5, "1.23e−5"], [0, "0"], [NaN, "–"], [null, "–"], [-Infinity, "−∞"]];
  for (const [value, text] of cases) assert.equal(number(value), text);
});

test("counts and durations in few characters", () => {
  assert.deepEqual([0, 950, 12345, 1_228_800, 2e9].map(compact), ["0", "950", "12.3k", "1.23M", "2G"]);
  assert.deepEqual([7, 200, 3723, Infinity, NaN, -1].map(duration), ["0:07", "3:20", "1:02:03", "–", "–", "–"]);
});

test("ticks are round, inside, and not too many", () => {
  assert.deepEqual(ticks(0, 1_000_000, 5), [0, 200000, 400000, 600000, 800000, 1000000]);
  assert.deepEqual(ticks(0.11, 0.71, 5), [0.2, 0.4, 0.6]);
  assert.deepEqual(ticks(3, 3, 5), [3]);
  for (const [low, high] of [[-1, 1], [0.001, 0.0011], [5, 1e6], [-7e-9, 3e-9]]) {
    const marks = ticks(low, high, 5);
    assert.ok(marks.length >= 1 && marks.length <= 6, `${marks}`);
    assert.ok(marks.every((mark) => mark >= low - 1e-12 && mark <= high + 1e-12));
  }
});

test("extent ignores what is not measured and is never empty", () => {
  assert.deepEqual(extent([NaN, 2, 1, Infinity]), [1, 2]);
  assert.deepEqual(extent([5, NaN]), [4.75, 5.25]);
  assert.deepEqual(extent([0]), [-0.5, 0.5]);
  assert.equal(extent([NaN]), null);
});

test("paths bridge gaps, nearest skips them", () => {
  const x = linear([0, 10], [0, 100]);
  assert.equal(path([0, 5, 10], [1, NaN, 2], x, (v) => v), "M0.0 1.0L100.0 2.0");
  assert.equal(nearest([0, 5, 10], [1, NaN, 2], 6), 2);
  assert.equal(nearest([0], [NaN], 0), -1);
});

test("float64 takes what front ends hand over, at any offset", () => {
  const bytes = new Uint8Array(4 + 16);
  const values = new Float64Array([1.5, NaN]);
  bytes.set(new Uint8Array(values.buffer), 4);
  for (const buffer of [values.buffer, values, new DataView(values.buffer), new DataView(bytes.buffer, 4), bytes.subarray(4)])
    assert.deepEqual([...float64(buffer)], [1.5, NaN]);
  assert.throws(() => float64(new ArrayBuffer(7)), /7 bytes/);
});

test("rows become columns", () => {
  assert.deepEqual(columns(Float64Array.of(1, 2, 3, 4, 5, 6), 3).map((column) => [...column]), [[1, 4], [2, 5], [3, 6]]);
  assert.deepEqual(columns(Float64Array.of(), 3).map((column) => column.length), [0, 0, 0]);
  assert.throws(() => columns(Float64Array.of(1, 2), 3), /rows of 3/);
});
