// The edge along the bottom: dragged, or moved by arrows, it makes the browser taller or lower.

import { element } from "../shared/dom.js";

export const HEIGHT = 680; // px, as are these; in Python too
const [LEAST, MOST] = [320, 4000];
const STEPS = /** @type {Record<string, number>} */ ({ ArrowUp: -20, ArrowDown: 20, PageUp: -100, PageDown: 100 });

/** @param {import("./app.js").App} app @param {HTMLElement} host  what has the height */
export function edge(app, host) {
  const node = element("div.edge", {
    role: "separator",
    "aria-orientation": "horizontal",
    "aria-valuemin": LEAST,
    "aria-valuemax": MOST,
    tabindex: 0,
    label: "height of the browser",
    title: "drag, or arrows: height",
    onkeydown: step,
    onpointerdown: grasp,
  });

  /** @param {number} height */
  const within = (height) => Math.round(Math.min(MOST, Math.max(LEAST, height)));

  /** @param {number} height */
  function draw(height) {
    if (!height) return; // a page that says none
    host.style.setProperty("--height", `${height}px`);
    node.ariaValueNow = String(height);
  }

  /** @param {KeyboardEvent} event */
  function step(event) {
    const by = STEPS[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    app.set("height", within(app.model.get("height") + by));
  }

  /** @param {PointerEvent} event */
  function grasp(event) {
    const [from, was] = [event.clientY, app.model.get("height")];
    let height = was;
    node.setPointerCapture(event.pointerId);
    node.onpointermove = (/** @type {PointerEvent} */ moved) => {
      draw((height = within(was + moved.clientY - from)));
    };
    node.onlostpointercapture = () => {
      node.onpointermove = node.onlostpointercapture = null;
      app.set("height", height); // once: Python need not hear of every pixel
    };
  }

  return { node, draw: () => draw(app.model.get("height")) };
}
