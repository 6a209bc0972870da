// The keyboard: keys act while the widget has the focus, and never inside a text field.

import { TABS } from "./examples.js";

export const KEYS = [
  ["/", "search"],
  ["j  k", "next, previous feature"],
  ["1 … 5", "tab of examples"],
  ["t", "full text"],
  ["← →", "token by token"],
  ["↑ ↓", "example by example"],
  ["s", "star"],
  ["e  n", "edit label, note"],
  ["Ctrl Enter", "keep a note"],
  ["p", "your prompt"],
  ["f", "full screen"],
  ["?", "these keys"],
  ["Esc", "close, leave a field"],
];

/** @param {EventTarget | null} target  Does it take what is typed? */
const takesText = (target) => {
  const node = /** @type {HTMLElement} */ (target);
  return node.matches("textarea, select, input:not([type=range])");
};

/**
 * @param {import("./app.js").App} app
 * @param {Record<"search" | "label" | "note" | "prompt" | "star" | "full" | "text" | "help", () => void> & {walk: (step: number) => void}} actions
 */
export function keyboard(app, actions) {
  /** @type {Record<string, () => void>} */
  const does = {
    "/": actions.search,
    j: () => app.step(1),
    k: () => app.step(-1),
    t: actions.text,
    s: actions.star,
    e: actions.label,
    n: actions.note,
    p: actions.prompt,
    f: actions.full,
    "?": actions.help,
    ArrowLeft: () => actions.walk(-1),
    ArrowRight: () => actions.walk(1),
  };
  TABS.forEach(([name], i) => {
    does[String(i + 1)] = () => app.set("tab", name);
  });

  app.frame.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape") {
      if (app.popover.close() || takesText(event.target)) app.frame.focus();
      else return;
    } else if (
      takesText(event.target) ||
      (event.key.startsWith("Arrow") && /** @type {HTMLElement} */ (event.target).matches("input"))
    )
      return;
    else if (does[event.key]) does[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}
