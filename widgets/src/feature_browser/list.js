// The list of features: only the rows in sight exist, so that 131,072 scroll like ten.

import { icon } from "../shared/controls.js";
import { element, fill, plain } from "../shared/dom.js";
import { axis } from "./filtering.js";
import { visible } from "../shared/tokens.js";
import { isDead, nameOf } from "./listing.js";
import { WRITE, titled, written } from "./words.js";

const TALL = 38; // rows of two lines, in a narrow widget
const LOW = 24;
const AROUND = 6; // rows drawn beyond what is in sight, each way

/** @param {import("./app.js").App} app */
export function list(app) {
  const [first, second] = app.listing.about;
  const scale = axis(app.listing, first);
  const pad = element("div.pad", { role: "presentation" });
  const sight = element(
    "div.sight",
    { role: "grid", tabindex: 0, label: "features", "aria-readonly": "true", onscroll: () => draw() },
    pad,
  );
  const heads = element("div.heads", { role: "row" });
  const node = plain("div.table", heads, sight);

  const height = () => (app.frame.clientWidth && app.frame.clientWidth < 860 ? TALL : LOW);
  const sort = () => /** @type {[string, boolean] | null} */ (app.model.get("sort"));
  /** The last column shows what the list goes by, where that is not in the row anyway. */
  const last = () => {
    const by = sort()?.[0] ?? app.listing.order.by;
    return app.listing.about.find(({ name }) => name !== first.name && name === by) ?? second;
  };

  function drawHeads() {
    const [column, descending] = sort() ?? ["", false];
    const head = (/** @type {string} */ name, /** @type {string} */ title, /** @type {string} */ kind) =>
      element(
        `div.${kind}`,
        { role: "columnheader", "aria-sort": name !== column ? "none" : descending ? "descending" : "ascending" },
        element(
          "button",
          { onclick: () => app.set("sort", [name, name === column ? !descending : name !== "latent"]) },
          title + (name === column ? (descending ? " ↓" : " ↑") : ""),
        ),
      );
    fill(
      heads,
      element("div"),
      head("latent", "#", "index"),
      element("div.name", { role: "columnheader" }, "label"),
      head(first.name, titled(first, "head"), "first"),
      head(last().name, titled(last(), "head"), "last"),
    );
  }

  /** @param {number} at  index in the list */
  function row(at) {
    const { listing } = app;
    const latent = app.shown[at];
    const dead = isDead(listing, latent);
    const { text: whole, own, explained } = nameOf(listing, latent);
    const text = whole.slice(0, 300);
    const title = explained ? `explained as ${text}; fires on ${visible(listing.hints[latent])}` : text;
    const cell = (/** @type {string} */ name, /** @type {import("../shared/dom.js").Child[]} */ ...children) =>
      element(name, { role: "gridcell" }, ...children);
    const value = listing.columns[first.name][latent];
    const starred = Boolean(listing.labels.get(latent)?.star);
    const chosen = latent === app.latent;
    return element(
      `div.item${chosen ? ".chosen" : ""}`,
      {
        role: "row",
        id: `f${latent}`,
        "aria-selected": chosen,
        "aria-rowindex": at + 1,
        style: `top:${at * height()}px`,
        onclick: () => app.select(latent),
        onpointerenter: () => app.hovered(latent),
      },
      element("span.star", { role: "gridcell", label: starred ? "starred" : "" }, starred && icon("star", true)),
      cell("span.index.mono.dim", latent),
      element(
        `span.name.cut${own ? ".strong" : ".dim"}${explained ? ".explained" : ""}`,
        { role: "gridcell", title },
        text,
      ),
      cell(
        "span.first",
        dead ? "dead" : WRITE[first.format](value),
        !dead && scale && element("i", { style: `--w:${(4 + 96 * scale.place(value)).toFixed(1)}%` }),
      ),
      cell("span.last", dead && last() === second ? "–" : written(last())(listing.columns[last().name][latent])),
    );
  }

  const fit = () => {
    pad.style.height = `${app.shown.length * height()}px`;
  };

  function draw() {
    const tall = height();
    const from = Math.max(0, Math.floor(sight.scrollTop / tall) - AROUND);
    fit();
    const to = Math.min(app.shown.length, from + Math.ceil(sight.clientHeight / tall) + 2 * AROUND);
    sight.ariaRowCount = String(app.shown.length);
    // A row that says the same stays: one that goes while a button is held down on it loses the click.
    const old = new Map([...pad.children].map((one) => [one.id, one]));
    const rows = [];
    for (let at = from; at < to; at++) {
      const next = row(at);
      const was = old.get(next.id);
      const same = was?.isEqualNode(next);
      rows.push(same ? was : next);
      if (same) old.delete(next.id);
    }
    for (const one of old.values()) one.remove();
    rows.forEach((one, i) => {
      if (pad.children[i] !== one) pad.insertBefore(one, pad.children[i]);
    });
    if (app.shown.subarray(from, to).includes(app.latent))
      sight.setAttribute("aria-activedescendant", `f${app.latent}`);
    else sight.removeAttribute("aria-activedescendant");
  }

  /** Bring the chosen feature into sight, in the middle when it was far away. */
  function reveal() {
    const at = app.shown.indexOf(app.latent);
    const top = at * height();
    fit(); // rows may have become taller: else it could not go so far
    if (
      at >= 0 &&
      sight.clientHeight &&
      (top < sight.scrollTop || top + height() > sight.scrollTop + sight.clientHeight)
    ) {
      const far = Math.abs(top - sight.scrollTop - sight.clientHeight / 2) > sight.clientHeight;
      if (far) sight.scrollTop = Math.max(0, at - Math.floor(sight.clientHeight / height() / 2)) * height();
      else sight.scrollTop = top < sight.scrollTop ? top : top + height() - sight.clientHeight;
    }
    draw();
  }

  sight.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    app.step(step);
  });

  return {
    node,
    draw,
    reveal,
    /** The list holds other features, or the same in another order. */
    changed() {
      drawHeads();
      sight.scrollTop = 0;
      reveal();
    },
  };
}
