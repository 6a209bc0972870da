// What every view of a widget has: a box in a shadow root, a signal that ends with it, drawing again when its size or the
// theme changes, and errors that are drawn and told to Python, so that it never dies silently.

import { element, isDark, shadow, watchTheme } from "./dom.js";

const LIVE = "data-saekit-live"; // while it stands, the card that a saved notebook shows is hidden (base.py)

/**
 * @param {{model: import("./messages.js").Model, el: HTMLElement}} context @param {HTMLElement} box
 * @param {string[]} sheets @param {(error: unknown) => void} say  draws an error
 * @param {Record<string, unknown>} [attributes]  of the element around it
 */
export function widget({ model, el }, box, sheets, say, attributes) {
  const ending = new AbortController();
  const host = element("div", { [LIVE]: model.get("_live"), ...attributes });
  shadow(host, ...sheets).append(box);
  el.append(host);

  /** Whether the view has something to show; else the card stands in. @param {boolean} on */
  function alive(on) {
    if (on) host.setAttribute(LIVE, model.get("_live"));
    else host.removeAttribute(LIVE);
  }

  /** @param {unknown} error */
  function fail(error) {
    console.warn(error);
    say(error);
    model.set("error", String(error));
    model.save_changes();
  }

  /** @template {any[]} A @param {(...args: A) => unknown} work */
  function guarded(work) {
    return (/** @type {A} */ ...args) => {
      try {
        const done = work(...args);
        if (done instanceof Promise) done.catch(fail);
      } catch (error) {
        fail(error);
      }
    };
  }

  /**
   * From now on events of the model are heard. The element is attached and sized only later, and the theme may change:
   * both draw again. Returns what ends the view.
   * @param {() => void} draw @param {[string, (...args: any[]) => void][]} events
   */
  function begin(draw, events) {
    const look = guarded(() => {
      box.toggleAttribute("data-dark", isDark(box));
      draw();
    });
    /** @type {[string, (...args: any[]) => void][]} */
    const heard = events.map(([event, call]) => [event, guarded(call)]);
    heard.push(["change:_live", () => alive(false)]); // the model is shown anew, and here its card stays
    for (const [event, call] of heard) model.on(event, call);
    const resized = new ResizeObserver(look);
    resized.observe(box);
    watchTheme(look, ending.signal);
    return () => {
      ending.abort();
      resized.disconnect();
      for (const [event, call] of heard) model.off(event, call);
      host.remove();
    };
  }

  return { host, signal: ending.signal, fail, guarded, begin, alive };
}
