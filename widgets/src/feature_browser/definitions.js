// "?" after a title opens what the thing is, how it is counted, and the Python call for it. Texts come with the store.

import { element, plain } from "../shared/dom.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app @param {string} panel @param {() => string | undefined} [more]  said after the definition */
export function question(app, panel, more) {
  const { title, text, code } = app.listing.definitions[panel] ?? {};
  if (!text) return null;
  const node = element(
    "button.question",
    {
      label: `what is ${title}?`,
      "aria-expanded": "false",
      onclick: () =>
        app.popover.toggle(node, [
          plain("b", title),
          text,
          more?.() && plain("p", more()),
          code && plain("code", code.replaceAll("{latent}", String(app.latent))),
        ]),
    },
    "?",
  );
  return node;
}

/**
 * A panel: its title, "?", something at the right, and a body.
 * @param {App} app @param {string} panel @param {string} title @param {import("../shared/dom.js").Child} aside @param {...import("../shared/dom.js").Child} body
 */
export function panelOf(app, panel, title, aside, ...body) {
  return element(
    `section.panel.${panel}`,
    { label: title },
    plain(
      "div.head",
      plain("h3", title),
      question(app, panel),
      element("span.grow"),
      aside && plain("span.dim.small", aside),
    ),
    ...body,
  );
}

/** Said in place of what the store does not have. @param {App} app @param {string} panel @param {string} [otherwise] */
export function absent(app, panel, otherwise) {
  const sentence = app.view?.absent?.[panel] ?? otherwise;
  return sentence ? plain("p.dim.absent", sentence) : null;
}
