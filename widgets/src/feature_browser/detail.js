// Everything about the chosen feature: header, examples, prompt, and the panels beside them.

import { button } from "../shared/controls.js";
import { element, fill, plain } from "../shared/dom.js";
import { examples } from "./examples.js";
import { header } from "./header.js";
import { histogram } from "./histogram.js";
import { logits } from "./logits.js";
import { neighbours } from "./neighbours.js";
import { prompt } from "./prompt.js";

const LATE = 150; // ms

/** @param {import("./app.js").App} app @param {(text: string) => void} say */
export function detail(app, say) {
  const head = header(app);
  const text = examples(app);
  const sheet = prompt(app);
  const near = neighbours(app);
  const body = element("div.body");
  const side = element("aside.side", { label: "histogram, logits, neighbours" });
  const waiting = element(
    "div.waiting",
    { role: "status" },
    plain("p.dim", "Reading this feature"),
    Array.from({ length: 8 }, (_, i) => element("div.bone", { style: `width:${90 - ((i * 17) % 35)}%` })),
  );
  const trouble = element("div.big", { role: "alert" });
  /** @type {any} */ let late;
  const node = plain("div.detail", head.node, body, side, sheet.node);

  /** A part that cannot be drawn says so in its place, and the others go on. @param {() => any} draw */
  function part(draw) {
    try {
      return draw();
    } catch (error) {
      return element("p.absent", { role: "alert" }, `This part cannot be drawn. ${error}`);
    }
  }

  function drawSide() {
    if (app.view)
      fill(
        side,
        part(() => histogram(app)),
        part(() => logits(app)),
        part(near),
      );
  }

  return {
    node,
    leave: head.commit,
    draw() {
      head.draw();
      sheet.draw();
      clearTimeout(late);
      if (!app.view) {
        late = setTimeout(
          () => {
            // most come sooner: the last one stays until then, and nothing flickers
            fill(body, waiting);
            fill(side);
          },
          body.firstChild ? LATE : 0,
        );
        return;
      }
      body.setAttribute("data-latent", String(app.latent)); // whose examples these are
      const failed = part(text.draw);
      if (failed) fill(body, failed);
      else if (body.firstChild !== text.node) fill(body, text.node);
      drawSide();
    },
    drawTab() {
      text.draw();
      drawSide();
    },
    /** @param {Error & {details?: string}} error @param {() => void} again */
    unreadable(error, again) {
      clearTimeout(late);
      fill(
        trouble,
        plain("b", "This feature could not be read"),
        plain("p", error.message),
        plain("p", "The list, the prompt and the other features do not need it."),
        plain(
          "div.row",
          button("Try again", again),
          error.details &&
            button("Copy traceback", () =>
              navigator.clipboard?.writeText(error.details ?? "").catch(() => say(error.details ?? "")),
            ),
        ),
      );
      fill(body, trouble);
      fill(side);
    },
    /** @param {number[]} latents */
    relabel(latents) {
      if (latents.includes(app.latent)) head.draw();
      drawSide();
      sheet.draw();
    },
    editLabel: () => head.label.focus(),
    editNote: () => head.note.focus(),
    focusPrompt: () => sheet.field.focus(),
    connected: sheet.connected,
    star: () => head.star.click(),
    toggleFull: text.toggleFull,
    walk: text.walk,
  };
}
