// Pure functions of the feature browser. Run by test_javascript.py, or: node --test tests/widgets/*.test.mjs
import assert from "node:assert/strict";
import test from "node:test";
import { float32, int16 } from "../../widgets/src/shared/buffers.js";
import { messenger } from "../../widgets/src/shared/messages.js";
import { escaped, parts, visible } from "../../widgets/src/shared/tokens.js";
import { callOf } from "../../widgets/src/feature_browser/bar.js";
import { axis, binned, matching, nearestLabel, reindex, reorder, sorted } from "../../widgets/src/feature_browser/filtering.js";
import { cutsOf, heights } from "../../widgets/src/feature_browser/histogram.js";
import { decodeListing, decodeView, nameOf } from "../../widgets/src/feature_browser/listing.js";
import { ranked } from "../../widgets/src/feature_browser/neighbours.js";
import { ordered } from "../../widgets/src/feature_browser/prompt.js";
import { around, positionOf, strength } from "../../widgets/src/feature_browser/tokens.js";
import { fixed, parsed, percent, python, range, savedAt, share, signed, written } from "../../widgets/src/feature_browser/words.js";

const column = (name, format, scale = "linear") => ({ name, title: name, head: name, of: "", scale, format, unit: "", filterable: true, in_header: true });
const ABOUT = [column("density", "percent", "log"), column("max", "fixed"), column("f1", "share")];
const view = (array) => new DataView(array.buffer);

/** Six latents; 3 is dead, 2 has no F1. */
function listing(more = {}) {
  const content = {
    title: "t", model: "m", site: "s", facts: "f", d_sae: 6, columns: ABOUT, order: { by: "f1", words: "by F1" }, concepts: ["name", "bracket"], definitions: {}, off: {}, version: 3,
    labels: [{ latent: 1, label: "A Dragon egg", star: true }, { latent: 3, label: "", star: true }, { latent: 4, label: "sharing\u202e" }], ...more,
  };
  const columns = [[0.1, 0.001, 0.01, 0, 0.01, 0.02], [5, 3, 5, 0, 9, 1], [0.9, 0.5, NaN, 0, 0.2, 0.6]].map((values) => view(Float32Array.from(values)));
  const hints = new TextEncoder().encode(["␣big ␣tall", "␣x", "Борис 🐻", "", "␣y", "␣14"].join("\0"));
  const usual = view(Float32Array.of(1, 2, 4, 5, 3, 0));
  return decodeListing(content, [...columns, usual, view(Int16Array.of(0, 1, -1, -1, 0, 1)), view(Uint8Array.of(0, 0, 0, 1, 0, 0)), view(hints)]);
}
const list = (filter, sort = ["latent", false], from = listing()) => [...matching(from, filter, sort)];

test("buffers at any offset", () => {
  const bytes = new Uint8Array(11);
  bytes.set(new Uint8Array(Float32Array.of(1.5, -2).buffer), 3);
  assert.deepEqual([...float32(new DataView(bytes.buffer, 3, 8))], [1.5, -2]);
  assert.deepEqual([...int16(new DataView(Int16Array.of(-1, 700).buffer))], [-1, 700]);
  assert.throws(() => float32(new ArrayBuffer(6)), /6 bytes/);
  assert.throws(() => int16(new ArrayBuffer(3)), /3 bytes/);
});

test("a listing is decoded, and what does not fit is named", () => {
  const made = listing();
  assert.equal(made.columns.max[4], 9);
  assert.deepEqual(made.hints.slice(1, 4), ["␣x", "Борис 🐻", ""]);
  assert.deepEqual([...made.concept], [0, 1, -1, -1, 0, 1]);
  assert.deepEqual(nameOf(made, 1), { text: "A Dragon egg", own: true });
  assert.deepEqual(nameOf(made, 2), { text: "Борис 🐻", own: false });
  made.labels.set(2, { label: "", explanation: "after(concept(style)) | concept('my name')" });
  assert.deepEqual(nameOf(made, 2), { text: "after(style) | my name", own: false, explained: true });
  assert.deepEqual(nameOf(made, 3), { text: "never fired in this store", own: false });
  assert.deepEqual(nameOf(made, 4), { text: "sharing⟨202E⟩", own: true });
  assert.throws(() => listing({ d_sae: 7 }), /density has 6 entries for 7 latents/);
});

test("a view's numbers go back to their places", () => {
  const one = (at, pieces) => ({ at, pieces, peak: 0 });
  const content = { view: { examples: { top: [one(0, ["a", "b"])], interval: [{ low: 0, examples: [one(6, ["c"])] }] } } };
  const { examples } = decodeView(content, [view(Float32Array.of(1, 0, 2, NaN, 3, 4, 5, 6, 7))]);
  assert.deepEqual([...examples.top[0].values, ...examples.top[0].logitEffect, ...examples.top[0].lossEffect], [1, 0, 2, NaN, 3, 4]);
  assert.deepEqual([...examples.interval[0].examples[0].lossEffect], [7]);
  assert.equal(examples.interval[0].low, 0);
});

test("sorting: both ways, ties by number, what was not measured last", () => {
  const made = listing();
  assert.deepEqual([...sorted(made, "max", true)], [4, 0, 2, 1, 5, 3]);
  assert.deepEqual([...sorted(made, "max", false)], [3, 5, 1, 0, 2, 4]);
  assert.equal(sorted(made, "f1", true).at(-1), 2);
  assert.equal(sorted(made, "f1", false).at(-1), 2);
  assert.deepEqual([...sorted(made, "latent", true)], [5, 4, 3, 2, 1, 0]);
  assert.equal(sorted(made, "max", true), sorted(made, "max", true)); // kept
});

test("filters, alone and together", () => {
  assert.deepEqual(list({}), [0, 1, 2, 4, 5]); // the dead one only where something asks for it
  assert.deepEqual(list({}, null), [5, 0, 1, 4, 2]); // the usual order
  assert.deepEqual(list({ dead: true }), [3]);
  assert.deepEqual(list({ starred: true }), [1, 3]);
  assert.deepEqual(list({ search: "3" }), [3]);
  assert.deepEqual(list({ search: "dragon" }), [1]);
  assert.deepEqual(list({ search: "BIG TALL" }), [0]); // as in the hint, without its signs
  assert.deepEqual(list({ search: "борис" }), [2]);
  assert.deepEqual(list({ search: "␣y" }), [4]); // the last but one, then the last
  assert.deepEqual(list({ search: "4" }), [4, 5]); // by its number, by its hint
  assert.deepEqual(list({ search: "14" }), [5]);
  assert.deepEqual(list({ concept: "bracket" }), [1, 5]);
  assert.deepEqual(list({ concept: "gone" }), []);
  assert.deepEqual(list({ density: [0.01, 0.02] }, ["latent", false]), [5]); // 0.01 as float32 lies below 0.01
  assert.deepEqual(list({ density: [0.005, null], max: [null, 5] }), [0, 2, 5]);
  assert.deepEqual(list({ f1: [0, 1] }), [0, 1, 4, 5]); // not measured does not pass
  assert.deepEqual(list({ f1: [0.5, null], concept: "bracket", starred: true }), [1]);
});

test("a new score is sorted and filtered by", () => {
  const made = listing();
  made.about = [...ABOUT, column("detection", "share")];
  made.columns.detection = Float32Array.of(NaN, 0.5, NaN, NaN, 0.9, NaN);
  assert.deepEqual([...sorted(made, "detection", true)].slice(0, 2), [4, 1]);
  made.columns.detection[5] = 0.95;
  reorder(made, "detection");
  assert.deepEqual([...sorted(made, "detection", true)].slice(0, 3), [5, 4, 1]);
  assert.deepEqual([...sorted(made, "detection", false)].slice(0, 3), [1, 4, 5]);
  assert.deepEqual(list({ detection: [0.8, null] }, ["latent", false], made), [4, 5]);
});

test("bands of sizes are cut on both sides of zero, inside the histogram", () => {
  const bands = [8, 6, 4, 2, 0].map((low) => ({ low })); // of (0, 10]
  assert.deepEqual(cutsOf(bands, 0, 10), [8, 6, 4, 2]);
  assert.deepEqual(cutsOf(bands, -10, 5), [-8, -6, 4, -4, 2, -2]);
});

test("search sees a label that changed", () => {
  const made = listing();
  assert.deepEqual(list({ search: "unicorn" }, ["latent", false], made), []);
  made.labels.set(5, { label: "Unicorn" });
  reindex(made, 5);
  assert.deepEqual(list({ search: "unicorn" }, ["latent", false], made), [5]);
  assert.equal(nearestLabel(made, "purple dragons"), 1);
  assert.equal(nearestLabel(made, "nothing like it"), -1);
});

test("search sees notes, explanations, concepts, and what fires on a token once that is known", () => {
  const made = listing();
  const find = (search) => list({ search }, ["latent", false], made);
  made.labels.set(0, { note: "Of Notes" });
  made.labels.set(2, { explanation: "words('egg')" });
  for (const latent of [0, 2]) reindex(made, latent);
  assert.deepEqual([find("notes"), find("EGG"), find("bracket"), find("name")], [[0], [1, 2], [1, 5], [0, 4]]);
  assert.deepEqual(find(" Lily"), []);
  made.firing.set(" Lily", Float32Array.of(4, 5));
  assert.deepEqual([find(" Lily"), find("Lily")], [[4, 5], []]); // another token
});

test("the axis of density is logarithmic, bins count the living", () => {
  const made = listing();
  const density = axis(made, ABOUT[0]);
  assert.ok(Math.abs(density.place(0.01) - 0.5) < 1e-6 && Math.abs(density.value(0.5) - 0.01) < 1e-8);
  const skip = (latent) => latent === 3;
  assert.deepEqual([...binned(made.columns.density, (value) => density.place(value) + 1e-6, 4, skip)], [1, 0, 3, 1]);
  const most = axis(made, ABOUT[1]);
  assert.deepEqual([most.low, most.high, most.value(0.5)], [0, 9, 4.5]);
  assert.deepEqual([...binned(made.columns.max, most.place, 3, skip)], [1, 3, 1]);
  made.columns.max[0] = 0;
  assert.deepEqual([axis(made, { ...ABOUT[1], scale: "log" }).low, axis(made, { ...ABOUT[1], scale: "log" }).place(0)], [1, -Infinity]);
  made.columns.f1.fill(NaN);
  assert.equal(axis(made, ABOUT[2]), null);
});

test("131,072 latents are filtered fast", () => {
  const size = 131_072;
  const values = Float32Array.from({ length: size }, (_, i) => ((i * 2654435761) % 1000) / 1000 + 1e-4);
  const big = { ...listing(), size, columns: { density: values, max: values, f1: values, usual: values }, concept: new Int16Array(size), dead: new Uint8Array(size), hints: Array.from({ length: size }, (_, i) => `token${i % 977} · x`), labels: new Map() };
  for (let i = 0; i < size; i += 4) big.labels.set(i, { explanation: `concept(entity.city) & ~tokens(' ${i}', ' the')` });
  const time = (filter) => {
    const began = process.cpuUsage(); // of this process: what others do on the machine does not count
    const found = matching(big, filter, ["max", true]).length;
    return [found, process.cpuUsage(began).user / 1000];
  };
  const [, first] = time({});
  const [, indexed] = time({ search: "token" });
  big.firing = new Map([["token12", Float32Array.from({ length: size / 4 }, (_, i) => 4 * i)]]);
  const [found, again] = time({ search: "token12", density: [0.1, 0.9] });
  console.log(`first sort ${first.toFixed(0)} ms, first search ${indexed.toFixed(0)} ms, then ${again.toFixed(0)} ms`);
  assert.ok(found > 100 && again < 3 * 50, `${again} ms`);
});

test("text of models: signs, hidden characters by number, joiners kept inside emoji", () => {
  assert.deepEqual(parts(" a\n\t"), [[true, "␣"], [false, "a"], [true, "↵⇥"]]);
  assert.deepEqual(parts(" a b", true), [[false, " a b"]]);
  assert.deepEqual(parts("x\u202ey\u200b"), [[false, "x"], [true, "⟨202E⟩"], [false, "y"], [true, "⟨200B⟩"]]);
  assert.deepEqual(parts("👩‍🚀"), [[false, "👩‍🚀"]]);
  assert.deepEqual(parts("\u200d"), [[true, "⟨200D⟩"]]);
  assert.deepEqual(parts("<b>&amp;"), [[false, "<b>&amp;"]]);
  for (const char of ["\0", "\x1b", "\x7f", "\u00ad", "\u061c", "\u2028", "\u2066", "\ufeff"]) assert.match(visible(char), /^⟨[0-9A-F]{4}⟩$/);
  assert.equal(escaped(" \n\u202e"), '" \\n⟨202E⟩"');
  assert.ok(escaped("x".repeat(10_000)).length < 210);
});

test("the line around a peak holds enough characters and whole pieces", () => {
  const pieces = ["aaaa", "bbbb", "cc", "P", "dd", "eeee"];
  assert.deepEqual(around(pieces, 3, 5), [1, 6]);
  assert.deepEqual(around(pieces, 3, 2), [2, 5]);
  assert.deepEqual(around(["P"], 0, 100), [0, 1]);
  const example = { tokens: [[1], [2, 3], [4], [5]], position: 10, peak: 2 };
  assert.deepEqual([0, 1, 2, 3].map((i) => positionOf(example, i)), [7, 8, 10, 11]);
});

test("colours: silence is bare, the weakest firing is seen, nothing beyond full", () => {
  assert.deepEqual([0, 10, -10, 20].map((value) => strength(value, 10)), [0, 1, 1, 1]);
  assert.ok(strength(0.001, 10) >= 0.1 && strength(1, 0) === 1 && strength(1, -0) === 1 && strength(0, 0) === 0);
  assert.deepEqual(heights([0, 1, 7]).map((h) => Number(h.toFixed(3))), [0, 0.333, 1]);
});

test("numbers, times and Python as written here", () => {
  assert.deepEqual([0.83, -0.02, -0.004, 1, null].map(share), [".83", "−.02", ".00", "1.00", "–"]);
  assert.deepEqual([signed(2.314), signed(-0.1, 3), signed(NaN), fixed(-0.5), fixed(-10)], ["+2.31", "−0.100", "–", "−0.50", "−10.00"]);
  assert.deepEqual([0, 0.0048, 0.00035, 0.000004, 2e-7, 0.32].map(percent), ["0", "0.48", "0.035", "0.0004", "2e−5", "32.0"]);
  assert.deepEqual([parsed("percent", "0.5 %"), parsed("fixed", "−1,5"), parsed("fixed", ""), parsed("share", "x")], [0.005, -1.5, null, null]);
  const family = { ...column("family", "whole"), names: ["induction", "local"] };
  assert.deepEqual([0, 1, NaN].map(written(family)), ["induction", "local", "–"]);
  assert.deepEqual([written(column("head", "whole"))(11), written(column("max", "fixed"))(1.5)], ["11", "1.50"]);
  assert.deepEqual([range("percent", 0.0837), range("percent", 8.7e-6), range("fixed", 3.14159), range("fixed", 16.2), range("share", 0.5)], ["8.4", "0.0009", "3.1", "16", ".50"]);
  const now = new Date(2026, 0, 2, 15, 0);
  assert.deepEqual([savedAt("2026-01-02T14:02:11", now), savedAt("2025-12-31T10:00:00", now), savedAt(undefined, now)], ["14:02", "2025-12-31", ""]);
  assert.equal(python({ dead: true, max: [1, null], search: 'a"b' }), '{"dead": True, "max": [1, None], "search": "a\\"b"}');
});

test("the call that opens a view names only what differs", () => {
  const call = (state, hasModel) => callOf({ model: { get: (name) => state[name] }, listing: { hasModel, about: ABOUT }, latent: 7 });
  assert.equal(call({ filter: {}, sort: null, tab: "top" }, false), "sk.FeatureBrowser(store, feature=7)");
  assert.equal(call({ filter: { max: [1, null] }, sort: ["f1", false], tab: "near" }, true), 'sk.FeatureBrowser(store, model=model, feature=7, filter={"max": [1, None]}, sort=["f1", False], tab="near")');
});

test("neighbours by either number, unmeasured last", () => {
  const rows = [{ latent: 1, cosine: 0.5, phi: null }, { latent: 2, cosine: 0.1, phi: 0.3 }, { latent: 3, cosine: 0.9, phi: -0.2 }];
  assert.deepEqual(ranked(rows, "cosine").map((one) => one.latent), [3, 1, 2]);
  assert.deepEqual(ranked(rows, "phi").map((one) => one.latent), [2, 3, 1]);
});

test("the score sheet puts the chosen feature first, then the order or a token's own", () => {
  const sheet = { latents: [4, 8, 9], maxima: [1, 1, 1], pieces: ["a", "b"], values: Float32Array.of(1, 0, 2, -3, 0, 5) };
  assert.deepEqual(ordered(sheet, 8, -1), { rows: [1, 0, 2], left: 0 });
  assert.deepEqual(ordered(sheet, 7, -1, 2), { rows: [-1, 0, 1], left: 1 });
  assert.deepEqual(ordered(sheet, 7, 1).rows, [-1, 2, 1]);
  assert.deepEqual(ordered(sheet, 9, 0).rows, [2, 1, 0]);
  const ranks = { 4: 0.3, 8: Infinity, 9: 0.1 };
  assert.deepEqual(ordered(sheet, 7, -1, 24, (latent) => ranks[latent]).rows, [-1, 2, 0, 1]);
});

test("questions: answers by id, errors, loss and return of the kernel", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const sent = [];
  const heard = [];
  const connection = [];
  let receive;
  const ending = new AbortController();
  const model = { on: (_, call) => { receive = call; }, off: () => { receive = null; }, send: (content) => sent.push(content) };
  const { ask, pulse } = messenger(model, { signal: ending.signal, heard: (content) => heard.push(content.kind), connection: (now) => connection.push(now) });

  const first = ask("feature", { latent: 1 });
  receive({ id: sent[0].id + 1000, kind: "feature" }, []); // another view's
  receive({ id: sent[0].id, kind: "feature", view: 5 }, []);
  receive({ id: sent[0].id, kind: "feature", view: 6 }, []); // a second answer
  assert.equal((await first).content.view, 5);
  const failing = ask("feature", { latent: 2 });
  receive({ id: sent[1].id, kind: "error", message: "no such part", details: "Traceback" }, []);
  await assert.rejects(failing, (error) => error.message === "no such part" && error.details === "Traceback");
  receive({ kind: "labels" }, []);
  assert.deepEqual([heard, connection], [["labels"], []]);

  const kept = ask("label", { latent: 3, star: true });
  t.mock.timers.tick(8001);
  assert.deepEqual(connection, [false]);
  t.mock.timers.tick(15_000); // it tries again by itself, with something small
  assert.equal(sent.at(-1).kind, "labels");
  pulse();
  const before = sent.length;
  receive({ id: sent.at(-1).id, kind: "labels" }, []);
  assert.deepEqual(connection, [false, true]);
  assert.ok(sent.slice(before).some((one) => one.kind === "label" && one.latent === 3)); // and says what was not heard
  receive({ id: sent.find((one) => one.kind === "label").id, kind: "label" }, []);
  await kept;
  ending.abort();
  assert.equal(receive, null);
});
