// Building DOM without ever parsing text as markup, and finding out whether the page is dark.

const SVG = new Set(["svg", "path", "line", "g", "text", "circle", "rect", "title"]);

/**
 * An element with attributes and children; strings become text nodes. "div.row" gives the class "row".
 * @param {string} name
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any} HTMLElement or SVGElement
 */
export function element(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(key, String(value));
  for (const child of children) if (child || child === "") node.append(child);
  return node;
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
  const parts = getComputedStyle(node).backgroundColor.match(/[\d.]+/g)?.map(Number);
  if (!parts || parts.length < 3 || parts[3] === 0) return false;
  const [r, g, b] = parts;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 128;
}
