// Small controls that the widgets share: icons, buttons, and the box that a "?" opens in place.

import { element, fill, plain } from "./dom.js";

const ICONS = {
  star: "M8 1.7l1.9 4 4.4.6-3.2 3.1.8 4.4L8 11.700l-3.900 2.100.8-4.400L1.700 6.300l4.400-.6z",
  up: "M4 10l4-4 4 4",
  down: "M4 6l4 4 4-4",
  full: "M3 6.500V3h3.500M13 9.500V13H9.500M3 3l4 4M13 13l-4-4",
  save: "M8 2.500v7M5 7l3 3 3-3M3 13h10",
  copy: "M5.500 5.500h8v8h-8zM10.500 5.500v-3h-8v8h3",
};

/** @param {keyof typeof ICONS} name @param {boolean} [filled] */
export function icon(name, filled = false) {
  return element(
    "svg",
    {
      width: 14,
      height: 14,
      viewBox: "0 0 16 16",
      fill: filled ? "currentColor" : "none",
      stroke: "currentColor",
      "stroke-width": 1.4,
      "stroke-linejoin": "round",
      "stroke-linecap": "round",
      "aria-hidden": "true",
    },
    element("path", { d: ICONS[name] }),
  );
}

/** @param {string} label @param {(event: any) => void} action @param {Record<string, unknown>} [attributes] */
export function button(label, action, attributes = {}) {
  return element("button.button", { onclick: action, ...attributes }, label);
}

/** A button that shows an icon; its label is spoken and is the tooltip.
 * @param {keyof typeof ICONS} name @param {string} label @param {(event: any) => void} action @param {Record<string, unknown>} [attributes] */
export function iconButton(name, label, action, attributes = {}) {
  return element("button.button.icon", { title: label, label: label, onclick: action, ...attributes }, icon(name));
}

/**
 * The one box of a widget that explains something, opened by a button and closed by the same button, Escape or another.
 * @param {HTMLElement} frame  positioned; the box never leaves it
 */
export function popover(frame) {
  const box = element("div.popover", { role: "note", hidden: true });
  /** @type {HTMLElement | null} */ let opener = null;
  frame.append(box);

  function close() {
    if (!opener) return false;
    opener.ariaExpanded = "false";
    opener = null;
    box.hidden = true;
    return true;
  }

  /** @param {HTMLElement} by @param {import("./dom.js").Child[]} content */
  function toggle(by, content) {
    const drawnAnew = opener && !opener.isConnected && opener.ariaLabel === by.ariaLabel; // the same to the reader
    if (opener === by || drawnAnew) return close();
    close();
    opener = by;
    by.ariaExpanded = "true";
    fill(box, plain("div", content));
    box.hidden = false;
    const [around, at] = [frame.getBoundingClientRect(), by.getBoundingClientRect()];
    const left = Math.min(at.left - around.left - 8, around.width - box.offsetWidth - 10);
    const below = at.bottom - around.top + 6;
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${below + box.offsetHeight > around.height - 8 ? Math.max(8, at.top - around.top - box.offsetHeight - 6) : below}px`;
    return true;
  }

  return {
    toggle,
    close,
    get opener() {
      return opener;
    },
  };
}
