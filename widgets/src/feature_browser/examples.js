// Examples of a feature as a concordance: one line each, whole tokens, the peaks in one column; `t` shows all the text.

import { button } from "../shared/controls.js";
import { element, fill, plain } from "../shared/dom.js";
import { escaped, token } from "../shared/tokens.js";
import { bandHead, captionOf, scaleOf } from "./captions.js";
import { absent, question } from "./definitions.js";
import { tracer } from "./heads.js";
import { tablist } from "./tabs.js";
import { around, positionOf, tokenOf } from "./tokens.js";
import { counted, fixed, signed } from "./words.js";

/** @typedef {import("./listing.js").Example} Example */

export const TABS = /** @type {const} */ ([
  ["top", "Top"],
  ["interval", "Intervals"],
  ["quantile", "Quantiles"],
  ["random", "Random +"],
  ["near", "Near misses"],
]);
const LINE = 170; // characters each way that one line can hold, at most

/** @param {import("./app.js").App} app */
export function examples(app) {
  const tabs = tablist(
    "examples",
    TABS,
    (name) => app.set("tab", name),
    (title, i) => `${title} (${i + 1})`,
  );
  const wholeText = button("Full", () => showFull(!full), {
    "aria-pressed": "false",
    title: "all of each example (t)",
  });
  wholeText.append(plain("span.wide", " text"));
  const caption = element("p.caption");
  const lacking = element("p.lacking.dim.small.cut"); // what the store does not say about its examples
  const body = element("div.rows", { role: "tabpanel", tabindex: 0, label: "examples" });
  const readout = element("div.readout", { "aria-live": "polite" });
  const from = element("div.readout.from", { "aria-live": "polite" }); // where a peak comes from, where that is known
  const trace = tracer(from);
  const node = element(
    "section.examples",
    { label: "examples" },
    plain("div.tabs", tabs.node, element("span.grow"), wholeText, question(app, "examples")),
    caption,
    lacking,
    body,
    readout,
    from,
  );
  let full = false;
  /** @type {WeakMap<Element, [Example, number]>} */ let places = new WeakMap();
  /** @type {HTMLElement | null} */ let cursor = null; // the token that arrows move and the readout returns to
  let drawn = ""; // which examples stand there

  const tokens = () => [...body.querySelectorAll(".tk")];

  /** @param {boolean} on */
  function showFull(on) {
    full = on;
    wholeText.ariaPressed = String(full);
    draw();
  }

  /** @param {Example} example @param {{most: number, loss: number}} scale @param {boolean} near */
  function row(example, scale, near) {
    const { pieces, peak, values, lossEffect, copies } = example;
    const [from, to] = full ? [0, pieces.length] : around(pieces, peak, LINE);
    const spans = [];
    for (let i = from; i < to; i++) {
      const span = tokenOf(pieces[i], values[i], scale.most, lossEffect[i], scale.loss);
      if (near && i === peak) span.classList.add("silent");
      if (i === peak) span.classList.add("peak");
      places.set(span, [example, i]);
      spans.push(span);
    }
    const before = spans.slice(0, peak - from);
    return element(
      `div.example${full ? ".full" : ""}`,
      { role: "group", label: `${fixed(example.value)} at ${escaped(pieces[peak])}` },
      element(
        "b",
        { title: near ? "distance from the weakest firing" : "activation at the peak" },
        fixed(example.value),
      ),
      // Reversed, so that the line fills from the peak outwards and drops what does not fit as whole tokens.
      plain("div.before", full ? before : before.reverse()),
      plain("div.after", spans.slice(peak - from)),
      copies > 0 &&
        element("span.copies", { title: `${counted(copies, "copy", "copies")} of this text hidden` }, `+${copies}`),
    );
  }

  function draw() {
    const { view } = app;
    const tab = app.model.get("tab");
    tabs.show(tab);
    if (!view) return;
    // The same examples again, of which something was measured meanwhile: the reader stays where he was.
    const again = drawn === (drawn = `${app.latent} ${tab} ${full}`);
    const [top, at] = again ? [body.scrollTop, tokens().indexOf(cursor)] : [0, -1];
    cursor = null;
    places = new WeakMap();
    fill(readout);
    const all = /** @type {any[]} */ (view.examples[tab] ?? []);
    const flat = all.flatMap((one) => one.examples ?? [one]);
    const scale = scaleOf(flat, view);
    caption.hidden = readout.hidden = !flat.length;
    from.hidden = !flat.length || !view.heads;
    caption.textContent = caption.title = captionOf(tab, view, all, flat);
    lacking.textContent = lacking.title = view.absent.sources ?? "";
    lacking.hidden = caption.hidden || !view.absent.sources;
    if (!flat.length)
      fill(body, view.firings ? absent(app, "examples", "The store has no examples of this kind.") : nothingFired());
    else if (all[0].examples)
      fill(
        body,
        ...all.flatMap((band, k) => [
          bandHead(band, k, all.length, tab === "quantile"),
          ...(band.examples.length
            ? band.examples.map((/** @type {Example} */ one) => row(one, scale, false))
            : [plain("p.dim.absent", "No example here.")]),
        ]),
      );
    else fill(body, ...flat.map((one) => row(one, scale, tab === "near")));
    body.scrollTop = top;
    body.setAttribute("data-tab", tab);
    const span = tokens()[at] ?? body.querySelector(".peak");
    if (span) moveTo(span);
  }

  function nothingFired() {
    const { view } = app;
    const closest = view.examples.near?.[0];
    return plain(
      "div.big",
      plain("b", "This feature never fired in this store"),
      plain("p", view.absent.examples ?? "On no counted token."),
      closest && plain("p", "Where it came closest:"),
      closest && row(closest, scaleOf([closest], view), true),
      plain(
        "p",
        "Its decoder row still has a direction: logits and neighbours are shown, and mean nothing without firings.",
      ),
      view.next_alive !== null && button("Next feature that fires", () => app.select(view.next_alive)),
    );
  }

  /** @param {Element} span */
  function read(span) {
    const place = places.get(span);
    if (!place) return;
    const [example, i] = place;
    if (!from.hidden) {
      /** @type {Map<any, any>} */ const spans = new Map();
      for (const one of span.closest(".example")?.querySelectorAll(".tk") ?? []) spans.set(places.get(one)?.[1], one);
      trace(spans, example, i);
    }
    const part = (/** @type {string} */ name, /** @type {string} */ value) =>
      plain("span", `${name} `, plain("b", value));
    const ids = example.tokens[i];
    fill(
      readout,
      plain("b.word", token(example.pieces[i])),
      part(ids.length > 1 ? "ids" : "id", ids.join(" ")),
      part("doc", `${example.document} : ${positionOf(example, i)}`),
      part("z", fixed(example.values[i])),
      part("Δ logit", signed(example.logitEffect[i])),
      part("Δ loss", Number.isNaN(example.lossEffect[i]) ? "–" : `${signed(example.lossEffect[i], 3)} nats`),
      example.copies > 0 ? part("copies hidden", String(example.copies)) : "",
    );
  }

  /** @param {Element} span */
  function moveTo(span) {
    cursor?.classList.remove("cursor");
    cursor = /** @type {HTMLElement} */ (span);
    cursor.classList.add("cursor");
    read(cursor);
  }

  const tokenAt = (/** @type {Event} */ event) => /** @type {Element} */ (event.target).closest(".tk");
  body.addEventListener("pointerover", (/** @type {Event} */ event) => {
    const span = tokenAt(event) ?? cursor;
    if (span) read(span);
  });
  body.addEventListener("pointerleave", () => cursor && read(cursor));
  body.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const peaks = [...body.querySelectorAll(".peak")];
    const next = step && peaks[peaks.indexOf(cursor?.closest(".example")?.querySelector(".peak")) + step];
    if (!next) return; // the page may scroll
    event.preventDefault();
    event.stopPropagation();
    moveTo(next);
    next.scrollIntoView({ block: "nearest" });
  });
  body.addEventListener("click", (/** @type {Event} */ event) => {
    const span = tokenAt(event);
    if (span) moveTo(span);
  });

  return {
    node,
    draw,
    toggleFull: () => showFull(!full),
    /** The cursor goes `step` tokens along its text. @param {number} step */
    walk(step) {
      const place = cursor && places.get(cursor);
      if (!place || !cursor) return;
      const line = cursor.closest(".example");
      const next = [...(line?.querySelectorAll(".tk") ?? [])].find((one) => places.get(one)?.[1] === place[1] + step);
      if (next) moveTo(next);
    },
  };
}
