// Building DOM without ever parsing text as markup, and finding out whether the page is dark.

const SVG = new Set(["svg", "path", "line", "g", "text", "circle", "rect", "title", "polygon"]);

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * An element with attributes and children; strings become text nodes. "div.row" gives the class "row"; a function is a
 * listener ("onclick"), `true` an attribute without a value, `false` and nothing no attribute; `label` is what is spoken.
 * @param {string} name
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {any} HTMLElement or SVGElement
 */
export function element(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (tag === "button") node.setAttribute("type", tag); // it sends no form
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [given, value] of Object.entries(attributes)) {
    const key = given === "label" ? "aria-label" : given;
    if (typeof value === "function") node.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    else if (value === true) node.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, String(value));
  }
  node.append(...present(children));
  return node;
}

/** An element without attributes. @param {string} name @param {...(Child | Child[])} children @returns {any} */
export const plain = (name, ...children) => element(name, {}, ...children);

/** Children that are there: nothing and `false` are not. @param {(Child | Child[])[]} children @returns {(Node | string)[]} */
function present(children) {
  return children
    .flat()
    .filter((child) => child || child === "" || child === 0)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * Put these children in place of all others. The focus stays on what it was on, drawn anew: the element of the same
 * kind with the same spoken name, or without one at the same place; where there is none, on the widget, never the page.
 * @param {Element} node @param {...(Child | Child[])} children
 */
export function fill(node, ...children) {
  const root = /** @type {ShadowRoot} */ (node.getRootNode());
  const was = /** @type {HTMLElement | null} */ (root.activeElement ?? null);
  const alike = () =>
    [...node.querySelectorAll(was?.localName ?? "")].filter(
      (one) => one.ariaLabel === was?.ariaLabel && one.className === was?.className,
    );
  const at = was && was !== node && node.contains(was) ? alike().indexOf(was) : -1;
  node.replaceChildren(...present(children));
  if (at < 0) return;
  const next = alike()[at] ?? node.closest(".sk");
  /** @type {HTMLElement | null} */ (next)?.focus({ preventScroll: true });
}

/**
 * A shadow root in `host` with the given style sheets, so that nothing leaks either way.
 * @param {HTMLElement} host @param {...string} sheets
 */
export function shadow(host, ...sheets) {
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = sheets.map((text) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    return sheet;
  });
  return root;
}

/**
 * Is the background of the element dark? Read from what is computed, so it holds for any theme and front end.
 * @param {Element} node
 */
export function isDark(node) {
  const parts = getComputedStyle(node)
    .backgroundColor.match(/[\d.]+/g)
    ?.map(Number);
  if (!parts || parts.length < 3 || parts[3] === 0) return false;
  const [r, g, b] = parts;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 128;
}

/**
 * Call `changed` whenever the page may have another theme; `signal` ends it.
 * @param {() => void} changed @param {AbortSignal} signal
 */
export function watchTheme(changed, signal) {
  const observer = new MutationObserver(changed);
  observer.observe(document.body, {
    attributes: true,
    attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"],
  });
  signal.addEventListener("abort", () => observer.disconnect());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed, { signal });
}
