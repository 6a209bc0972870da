// A prompt of the reader's own, as a score sheet: tokens across, features down, the activation in each cell.

import { element, fill, plain } from "../shared/dom.js";
import { float32 } from "../shared/buffers.js";
import { escaped, tokenNodes } from "../shared/tokens.js";
import { question } from "./definitions.js";
import { nameOf } from "./listing.js";
import { strength } from "./tokens.js";
import { counted, fixed } from "./words.js";

const REST = 500; // ms without a keystroke before the model runs
const PATIENCE = 20000;
const ROWS = 24; // features listed beside the chosen one

/**
 * Rows of the score sheet: the chosen feature first, then the others in order.
 * @param {{latents: number[], maxima: number[], values: Float32Array, pieces: string[]}} sheet @param {number} chosen
 * @param {number} column  a piece to sort by; −1: the given order, strongest relative to its maximum first
 * @param {number} [most] @param {(latent: number) => number} [rank]  sort by this instead, smallest first
 */
export function ordered({ latents, values, pieces }, chosen, column, most = ROWS, rank) {
  const at = (/** @type {number} */ row) => Math.abs(values[row * pieces.length + column]);
  let rows = latents.map((_, row) => row).filter((row) => latents[row] !== chosen);
  if (column >= 0) rows = rows.filter((row) => at(row) > 0).sort((a, b) => at(b) - at(a));
  else if (rank) rows.sort((a, b) => rank(latents[a]) - rank(latents[b]));
  return { rows: [latents.indexOf(chosen), ...rows.slice(0, most)], left: Math.max(0, rows.length - most) };
}

/** @param {import("./app.js").App} app */
export function prompt(app) {
  const off = app.listing.off.prompt;
  const field = element("input.field.mono", {
    type: "text",
    placeholder: off ?? "type a text and see which features fire on it",
    title: off,
    disabled: Boolean(off),
    label: "your prompt",
    spellcheck: "false",
    autocomplete: "off",
  });
  const status = element("span.dim.small.said", { role: "status" });
  const body = element("div.sheet", { role: "region", label: "features on each token", tabindex: -1, hidden: true });
  const node = element(
    "section.prompt",
    { label: "your prompt" },
    plain(
      "div.row",
      plain("h3.strong", "Your prompt"),
      question(app, "prompt"),
      field,
      status,
      !off && element("kbd", { "aria-hidden": "true" }, "p"),
    ),
    body,
  );
  /** @type {any} */ let sheet = null;
  let column = -1;
  const order = element(
    "select.plain.small",
    {
      label: "sheet sorted by",
      onchange: () => {
        column = -1;
        draw();
      },
    },
    element("option", { value: "" }, "strongest first"),
    app.listing.about.map(({ name, head, scale }) =>
      element("option", { value: name }, scale === "log" ? `lowest ${head} first` : `by ${head}`),
    ),
  );
  let timer = 0;
  let running = ""; // the text that the kernel has now
  let wanted = ""; // the text that it should have

  /** What was not measured comes last. @param {number} latent */
  function rank(latent) {
    const { name, scale } = app.listing.about[order.selectedIndex - 1];
    const value = app.listing.columns[name][latent];
    return Number.isNaN(value) ? Infinity : scale === "log" ? value : -value;
  }

  async function run() {
    wanted = field.value.replaceAll("↵", "\n").replaceAll("⇥", "\t");
    if (running || !wanted) return wanted || clear();
    running = wanted;
    status.textContent = "running …";
    const late = setTimeout(() => {
      status.textContent = "still waiting for the kernel";
    }, PATIENCE / 2);
    try {
      const { content, buffers } = await app.messages.ask("prompt", { text: running }, PATIENCE);
      sheet = { ...content, values: float32(buffers[0]) };
      column = -1;
      const cut = content.cut ? `${counted(content.cut, "token", "tokens")} too many, cut · ` : "";
      status.textContent = `${cut}${counted(content.pieces.length, "token", "tokens")}, ${Math.round(1000 * content.seconds)} ms`;
      status.classList.toggle("over", cut); // which is said in a narrow widget too
      draw();
    } catch (error) {
      status.textContent = "";
      body.hidden = false;
      fill(body, element("p.failed", { role: "alert" }, /** @type {Error} */ (error).message));
    } finally {
      clearTimeout(late);
      const done = running;
      running = "";
      if (wanted !== done) run();
    }
  }

  function clear() {
    sheet = null;
    body.hidden = true;
    status.textContent = "";
  }

  function draw() {
    if (!sheet) return;
    const { pieces, counted: isCounted, latents, maxima, values } = sheet;
    const held = order.matches(":focus"); // it moves into the new head
    const { rows, left } = ordered(sheet, app.latent, column, ROWS, order.value && rank);
    const pick = (/** @type {number} */ i) => () => {
      column = column === i ? -1 : i;
      draw();
    };
    const head = plain(
      "tr",
      element("th.name", { scope: "col" }, column < 0 ? order : plain("span.dim.small", "strongest on this token")),
      pieces.map((/** @type {string} */ piece, /** @type {number} */ i) =>
        element(
          `th${i === column ? ".on" : ""}`,
          { scope: "col" },
          element(
            `button${isCounted[i] ? "" : ".faint"}`,
            {
              title: `${escaped(piece)}${isCounted[i] ? "" : ", not counted"}: sort by this token`,
              "aria-pressed": i === column,
              onclick: pick(i),
            },
            tokenNodes(piece, true),
          ),
        ),
      ),
    );
    const line = (/** @type {number} */ row) => {
      const latent = row < 0 ? app.latent : latents[row];
      const { text, own } = nameOf(app.listing, latent);
      return element(
        `tr${latent === app.latent ? ".me" : ""}`,
        {},
        element(
          "th.name",
          { scope: "row", title: text.slice(0, 300) },
          element(
            "button.link.mono.small",
            { label: `open feature ${latent}`, onclick: () => app.select(latent) },
            latent,
          ),
          " ",
          element("span", { class: own ? null : "dim" }, text.slice(0, 80)),
        ),
        pieces.map((/** @type {string} */ _, /** @type {number} */ i) => {
          const value = row < 0 ? 0 : values[row * pieces.length + i];
          return element(
            `td${value ? (value < 0 ? ".minus" : ".plus") : ""}${i === column ? ".on" : ""}`,
            { style: value ? `--a:${strength(value, maxima[row]).toFixed(2)}` : null },
            value ? fixed(value, 1) : "",
          );
        }),
      );
    };
    body.hidden = false;
    fill(
      body,
      plain("table", plain("thead", head), plain("tbody", rows.map(line))),
      !latents.length && plain("p.dim.absent", "No feature fires on this text."),
      left > 0 &&
        plain(
          "p.dim.small",
          `${counted(left, "more feature fires", "more features fire")}; choose a token to see its own.`,
        ),
    );
    if (held) order.focus();
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(run, REST);
  });
  field.addEventListener("paste", (/** @type {ClipboardEvent} */ event) => {
    const text = event.clipboardData?.getData("text") ?? "";
    if (!/[\n\t]/.test(text)) return;
    event.preventDefault(); // one line cannot hold line ends: their signs stand for them
    field.setRangeText(
      text.replace(/\r?\n/g, "↵").replaceAll("\t", "⇥"),
      field.selectionStart,
      field.selectionEnd,
      "end",
    );
    field.dispatchEvent(new Event("input"));
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    clearTimeout(timer);
    run();
  });

  return {
    node,
    field,
    draw,
    /** Without a kernel no model runs; but a field that is being typed in must not hand its keys to the page. @param {boolean} now */
    connected(now) {
      field.disabled = Boolean(off) || !(now || field.matches(":focus"));
    },
  };
}
