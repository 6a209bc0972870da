// Everything about the chosen feature: header, examples, prompt, and the panels beside them.

import { button } from "../shared/controls.js";
import { element, fill, plain } from "../shared/dom.js";
import { examples } from "./examples.js";
import { header } from "./header.js";
import { prompt } from "./prompt.js";
import { side } from "./side.js";

const LATE = 150; // ms

/** @param {import("./app.js").App} app @param {(text: string) => void} say */
export function detail(app, say) {
  const head = header(app);
  const text = examples(app);
  const sheet = prompt(app);
  const panels = side(app, part);
  const body = element("div.body");
  const waiting = element(
    "div.waiting",
    { role: "status" },
    plain("p.dim", "Reading this feature"),
    Array.from({ length: 8 }, (_, i) => element("div.bone", { style: `width:${90 - ((i * 17) % 35)}%` })),
  );
  const trouble = element("div.big", { role: "alert" });
  /** @type {any} */ let late;
  const node = plain("div.detail", head.node, body, panels.node, sheet.node);

  /** A part that cannot be drawn says so in its place, and the others go on. @param {() => any} draw */
  function part(draw) {
    try {
      return draw();
    } catch (error) {
      return element("p.absent", { role: "alert" }, `This part cannot be drawn. ${error}`);
    }
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
            panels.draw();
          },
          body.firstChild ? LATE : 0,
        );
        return;
      }
      body.setAttribute("data-latent", String(app.latent)); // whose examples these are
      const failed = part(text.draw);
      if (failed) fill(body, failed);
      else if (body.firstChild !== text.node) fill(body, text.node);
      panels.draw();
    },
    drawTab() {
      text.draw();
      if (app.view) panels.draw();
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
      panels.draw();
    },
    /** @param {number[]} latents */
    relabel(latents) {
      if (latents.includes(app.latent)) head.draw();
      if (app.view) panels.draw();
      sheet.draw();
    },
    editLabel: () => head.label.focus(),
    editNote: head.editNote,
    focusPrompt: () => sheet.field.focus(),
    connected: sheet.connected,
    star: () => head.star.click(),
    toggleFull: text.toggleFull,
    walk: text.walk,
  };
}
