// A row of tabs: one is chosen, by a click or by arrows while the focus is on them.

import { element } from "../shared/dom.js";

/**
 * @param {string} label @param {readonly (readonly [name: string, title: string])[]} all
 * @param {(name: string) => void} choose
 * @param {(title: string, at: number) => string} [hint]  a tab's tooltip
 */
export function tablist(label, all, choose, hint) {
  const tabs = all.map(([name, title], i) =>
    element("button.tab", { role: "tab", title: hint?.(title, i), onclick: () => choose(name) }, title),
  );
  const seen = () => tabs.filter((one) => !one.hidden);

  /** @param {KeyboardEvent} event */
  function turn(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.stopPropagation();
    const there = seen();
    const next = there[(there.findIndex((one) => one.ariaSelected === "true") + step + there.length) % there.length];
    next.click();
    next.focus();
  }

  return {
    node: element("div.row.list", { role: "tablist", label, onkeydown: turn }, tabs),
    /** @param {string} chosen @param {(name: string) => boolean} [there]  which tabs have anything to show */
    show(chosen, there = () => true) {
      all.forEach(([name], i) => {
        tabs[i].hidden = !there(name);
        tabs[i].ariaSelected = String(name === chosen);
        tabs[i].tabIndex = name === chosen ? 0 : -1;
      });
    },
  };
}
