// The line on top: what is browsed, the buttons that concern all of it, and what went wrong.

import { button, iconButton } from "../shared/controls.js";
import { bytes } from "../shared/buffers.js";
import { element, fill, plain } from "../shared/dom.js";
import { visible } from "../shared/tokens.js";
import { HEIGHT } from "./height.js";
import { deadOf } from "./listing.js";
import { KEYS } from "./keys.js";
import { counted, python } from "./words.js";

const EXPORT_PATIENCE = 60000;

/** The Python call that opens this view. @param {import("./app.js").App} app */
export function callOf(app) {
  const [filter, sort, tab] = [app.model.get("filter"), app.model.get("sort"), app.model.get("tab")];
  const parts = ["store", app.listing.hasModel && "model=model", `feature=${app.latent}`];
  if (Object.keys(filter).length) parts.push(`filter=${python(filter)}`);
  if (sort) parts.push(`sort=${python(sort)}`);
  if (tab !== "top") parts.push(`tab=${python(tab)}`);
  const height = app.model.get("height");
  if (height && height !== HEIGHT) parts.push(`height=${height}`);
  return `sk.FeatureBrowser(${parts.filter(Boolean).join(", ")})`;
}

/** What there is to do without a kernel, and what becomes of edits. @param {boolean} gone @param {number} edits */
function words(gone, edits) {
  const kept = counted(edits, "edit is", "edits are");
  if (gone)
    return `What is loaded stays readable; run this cell again to go on.${edits ? ` ${kept} kept, and stored by the next view of this store.` : ""}`;
  return `What is loaded stays readable.${edits ? ` ${kept} kept until it answers, or for the next view of this store.` : ""}`;
}

/** @param {import("./app.js").App} app @param {HTMLElement} host */
export function bar(app, host) {
  const dot = element("span.dot.empty", { role: "img", label: "loading" });
  const title = plain("b.strong", "Opening the store");
  const what = element("span.mono.dim.cut");
  const facts = element("span.dim.cut.wide");
  const copy = iconButton("copy", "copy the Python call that opens this view", copyCall, { "aria-expanded": "false" });
  const save = iconButton("save", "save as one HTML file", saveFile, { "aria-expanded": "false" });
  const full = iconButton("full", "full screen (f)", fullScreen);
  const keys = button("Keys", showKeys, { title: "keyboard (?)", "aria-expanded": "false" });
  for (const one of [copy, save]) one.disabled = true; // until there is something to copy
  const connection = element("div.line.lost", { role: "alert", hidden: true });
  const failure = element("div.line.failed", { role: "alert", hidden: true });
  const node = plain("div.bar", dot, title, what, facts, element("span.grow"), copy, save, full, keys);

  /** What opens this view: a call, or in a saved file its own address. */
  function copyCall() {
    const saved = app.listing.off.save;
    const call = saved ? `${location.href.split("#")[0]}#${app.latent}` : callOf(app);
    const told = plain("b", saved ? "Opens this file at this feature" : "Opens this view in Python");
    app.popover.toggle(copy, [told, plain("code", call)]);
    navigator.clipboard?.writeText(call).then(
      () => {
        told.textContent = "Copied";
      },
      () => {},
    ); // else it is there to be marked
  }

  async function saveFile() {
    save.disabled = true;
    try {
      const { content, buffers } = await app.messages.ask("export", {}, EXPORT_PATIENCE);
      const address = URL.createObjectURL(new Blob([bytes(buffers[0])], { type: "text/html" }));
      element("a", { href: address, download: content.name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
      app.popover.toggle(save, [
        plain("b", `Saved as ${content.name}`),
        "It holds this feature, those starred, and the first 50 of the list.",
        plain("code", `browser.export_html(${JSON.stringify(content.name)})`),
      ]);
    } catch (error) {
      say(`The file was not saved. ${/** @type {Error} */ (error).message}`);
    } finally {
      save.disabled = false;
    }
  }

  function fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else host.requestFullscreen?.().catch((error) => say(`No full screen here. ${error.message}`));
  }

  function showKeys() {
    app.popover.toggle(keys, [
      plain("b", "Keyboard"),
      plain(
        "table",
        plain(
          "tbody",
          KEYS.map(([key, does]) => plain("tr", plain("td", plain("kbd", key)), plain("td", does))),
        ),
      ),
    ]);
  }

  /** @param {string} text */
  function say(text) {
    fill(
      failure,
      plain("span", text),
      element("span.grow"),
      button("Close", () => {
        failure.hidden = true;
      }),
    );
    failure.hidden = false;
  }

  return {
    node,
    lines: plain("div.lines", connection, failure),
    say,
    fullScreen,
    showKeys,
    loaded() {
      const { listing } = app;
      title.textContent = visible(listing.title);
      what.textContent = [listing.model, listing.site].filter(Boolean).map(visible).join(" · ");
      facts.textContent = [visible(listing.facts), deadOf(listing)].filter(Boolean).join(" · ");
      for (const one of [title, what, facts]) one.title = one.textContent ?? "";
      title.textContent = title.title.split(/[\\/]/).slice(-2).join("/"); // of a long path, the end
      copy.disabled = false;
      save.disabled = Boolean(listing.off.save);
      if (listing.off.save) {
        save.title = listing.off.save;
        copy.title = copy.ariaLabel = "copy a link to this feature";
      }
    },
    /** @param {boolean} connected @param {boolean} gone  for good @param {number} edits  that wait */
    connected(connected, gone, edits) {
      dot.setAttribute("class", `dot${connected ? (app.listing ? "" : ".empty") : ".lost"}`.replaceAll(".", " "));
      dot.ariaLabel = connected
        ? app.listing
          ? "ready"
          : "loading"
        : gone
          ? "the kernel is gone"
          : "the kernel does not answer";
      connection.hidden = connected;
      if (!connected)
        fill(
          connection,
          plain(
            "span",
            plain("b.strong", gone ? "The kernel is gone. " : "The kernel does not answer: it is busy or gone. "),
            plain("span.dim", words(gone, edits)),
          ),
          element("span.grow"),
          !gone && button("Try again", () => app.messages.pulse()),
        );
    },
  };
}
