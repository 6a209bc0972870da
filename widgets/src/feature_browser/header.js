// The chosen feature: star, number, label and note to write, its numbers and explanations. Where there is little room
// note and explanations are folded into a line each, until the reader opens them.

import { icon, iconButton } from "../shared/controls.js";
import { element, fill, plain } from "../shared/dom.js";
import { visible } from "../shared/tokens.js";
import { question } from "./definitions.js";
import { deadOf, isDead } from "./listing.js";
import { counted, savedAt, share, written } from "./words.js";

const NOTE_KEYS = "Enter: a new line; Ctrl+Enter or Esc: keep it";

/** @param {import("./app.js").App} app */
export function header(app) {
  const { listing } = app;
  const star = iconButton("star", "star (s)", () =>
    app.edit(app.latent, { star: !listing.labels.get(app.latent)?.star }),
  );
  const index = element("span.number");
  const label = element("input.label", {
    type: "text",
    placeholder: "no label yet",
    label: "label of the feature",
    maxlength: 10000,
    spellcheck: "false",
    onchange: () => keep("label", label),
  });
  const note = element("textarea.note", {
    placeholder: `note (${NOTE_KEYS})`,
    title: NOTE_KEYS,
    label: "note on the feature",
    rows: 1,
    onchange: () => keep("note", note),
  });
  const saved = element("span.saved.dim.small", { role: "status" });
  const numbers = element("dl.numbers");
  const explanations = element("div.explanations");
  const [fold, noteFold] = [folding(explanations), folding(note)];
  const node = element(
    "header.header",
    {},
    element(
      "div.about",
      {},
      plain(
        "div.row.title",
        star,
        index,
        label,
        saved,
        iconButton("up", "previous feature (k)", () => app.step(-1)),
        iconButton("down", "next feature (j)", () => app.step(1)),
      ),
      numbers,
      plain("div.folds", fold.node, noteFold.node),
      explanations,
    ),
    note,
  );
  if (listing.off.edit)
    for (const one of [star, label, note]) {
      one.disabled = true;
      one.title = listing.off.edit;
    }
  let shown = -1; // the latent whose texts stand in the fields

  /** Save what the reader changed. `defaultValue` is what was put into the field, as the field made it one line: whoever only
   * looks changes nothing, whatever was stored meanwhile. @param {"label" | "note"} name @param {HTMLInputElement | HTMLTextAreaElement} field */
  function keep(name, field) {
    if (shown < 0 || field.value === field.defaultValue) return;
    field.defaultValue = field.value;
    app.edit(shown, { [name]: field.value });
  }

  for (const field of [label, note]) {
    field.addEventListener("blur", write); // what others stored while it was being edited
    field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const lines = field === note; // where Enter is text, and too much would be lost
      if (event.key === "Escape") {
        if (!lines) field.value = field.defaultValue;
      } else if (event.key !== "Enter" || event.isComposing || (lines && !event.ctrlKey && !event.metaKey)) return;
      event.preventDefault();
      event.stopPropagation();
      app.frame.focus(); // leaving saves
    });
  }

  /** Put the stored texts into the fields, but not while one is being edited. */
  function write() {
    const own = listing.labels.get(app.latent) ?? {};
    const other = shown !== app.latent;
    shown = app.latent;
    for (const [field, text] of /** @type {[any, string | undefined][]} */ ([
      [label, own.label],
      [note, own.note],
    ]))
      if (other || !field.matches(":focus")) {
        field.value = text ?? "";
        field.defaultValue = field.value;
      }
    noteFold.say("Note", note.value);
  }

  /** @param {string} name @param {import("../shared/dom.js").Child | import("../shared/dom.js").Child[]} value @param {Node | null} [after] @param {string} [title] */
  const fact = (name, value, after, title) =>
    plain("div", name && plain("dt", name), element("dd", { title }, value), after);

  /** A column's number: of the view, or while that is on its way of the list. @param {import("./listing.js").Column} column */
  function number(column) {
    const { view, latent } = app;
    const { name, head, unit, of } = column;
    const listed = { value: listing.columns[name][latent], what: of && listing.concepts[listing.concept[latent]] };
    const { value, low, what, more } = view ? (view.numbers[name] ?? {}) : listed;
    const measured = Number.isFinite(value);
    if (!measured && !more) return null;
    const write = written(column);
    return fact(
      what ? of : low !== undefined ? "range" : column.title,
      [
        what && element("span.mono.concept", { title: visible(what) }, visible(what)),
        what && ` ${head} `,
        low !== undefined && `${write(low)} – `,
        measured ? write(value) + (unit && ` ${unit}`) : "–",
      ],
      question(app, name, () => more),
    );
  }

  function facts() {
    const dead = isDead(listing, app.latent);
    const columns = listing.about.filter((column, i) => column.in_header && (!dead || !i)); // of a dead one the first
    return [
      fact("", [element(`span.dot${dead ? ".empty" : ""}`), dead ? "dead" : "alive"], null, deadOf(listing)),
      ...columns.map(number),
    ];
  }

  return {
    node,
    label,
    star,
    editNote() {
      noteFold.open(true);
      note.focus();
    },
    /** Before another feature is shown: what was written belongs to this one. */
    commit() {
      keep("label", label);
      keep("note", note);
    },
    draw() {
      const own = listing.labels.get(app.latent) ?? {};
      write();
      fill(star, icon("star", Boolean(own.star)));
      star.ariaPressed = String(Boolean(own.star));
      index.textContent = String(app.latent);
      saved.textContent = app.pending(app.latent)
        ? "not saved yet"
        : own.saved && (own.label || own.note || own.star)
          ? `yours, saved ${savedAt(own.saved)}`
          : "";
      label.placeholder = own.label
        ? ""
        : isDead(listing, app.latent)
          ? "no label"
          : `label · ${visible(listing.hints[app.latent] ?? "").slice(0, 80)}`;
      fill(numbers, ...facts().filter(Boolean));
      const said = /** @type {any[]} */ (app.view?.explanations ?? []);
      fold.node.hidden = !said.length;
      fold.say(counted(said.length, "explanation", "explanations"), said[0]?.text);
      fill(
        explanations,
        ...said.map((one) =>
          element(
            "p",
            { title: visible(one.text).slice(0, 1000) },
            plain("span.text", visible(one.text).slice(0, 1000)),
            plain("span.dim.small", [
              one.author && `${visible(one.author)} · `,
              `detection ${share(one.detection)} · fuzzing ${share(one.fuzzing)}`,
            ]),
            question(app, "explanations"),
          ),
        ),
      );
    },
  };
}

/** A line that opens and folds `node`, with the beginning of what is in it. @param {HTMLElement} node */
function folding(node) {
  const what = element("b.strong");
  const start = element("span.dim.cut");
  const line = element(
    "button.fold",
    { "aria-expanded": "false", onclick: () => open(line.ariaExpanded !== "true") },
    what,
    start,
  );

  /** @param {boolean} on */
  function open(on) {
    line.ariaExpanded = String(on);
    node.toggleAttribute("data-open", on);
  }

  return {
    node: line,
    open,
    /** @param {string} title @param {string} [text] */
    say(title, text = "") {
      what.textContent = title;
      start.textContent = visible(text.slice(0, 200));
    },
  };
}
