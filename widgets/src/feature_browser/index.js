// The feature browser. Small state (feature, filter, sort, tab, starred) are traits, readable and settable from Python;
// the listing and the features come as answers to messages, with binary buffers. Labels travel only in messages.

import { popover } from "../shared/controls.js";
import controls from "../shared/controls.css";
import { element, fill, plain } from "../shared/dom.js";
import { messenger } from "../shared/messages.js";
import theme from "../shared/theme.css";
import { widget } from "../shared/widget.js";
import { bar } from "./bar.js";
import { detail } from "./detail.js";
import { edits } from "./edits.js";
import { features } from "./features.js";
import { firing } from "./firing.js";
import { filters } from "./filters.js";
import { index, matching } from "./filtering.js";
import { edge } from "./height.js";
import { keyboard } from "./keys.js";
import { list } from "./list.js";
import { decodeListing } from "./listing.js";
import style from "./style.css";

/** @typedef {import("./app.js").App} App */

/** @param {{model: import("../shared/messages.js").Model, el: HTMLElement}} context */
function render({ model, el }) {
  const frame = element("section.sk.browser", { label: "feature browser", tabindex: -1 });
  // JupyterLab would take the keys of this widget for its own commands. On a page of its own, which says
  // `fill`, it is as high as the element that holds it.
  const around = { "data-lm-suppress-shortcuts": "true", "data-fill": Boolean(model.get("fill")) };
  const say = (/** @type {unknown} */ error) => top.say(`The browser could not draw: ${error}`);
  const { host, signal, fail, guarded, begin, alive } = widget(
    { model, el },
    frame,
    [theme, controls, style],
    say,
    around,
  );

  const app = /** @type {App} */ ({
    frame,
    signal,
    model,
    popover: popover(frame),
    latent: model.get("feature"),
    view: null,
    shown: new Uint32Array(),
    select,
    hovered: (latent) => {
      views.hovered(latent);
    },
    step,
    filter,
    fail,
    set(trait, value) {
      model.set(trait, value);
      model.save_changes();
    },
    edit: (latent, change) => store?.edit(latent, change),
    pending: (latent) => store?.pending(latent) ?? false,
  });
  const top = bar(app, host);
  const left = element(
    "aside.left",
    { label: "features" },
    Array.from({ length: 14 }, (_, i) => element("div.bone", { style: `width:${88 - ((i * 13) % 40)}%` })),
  );
  const right = plain("div.right", element("div.big", { role: "status" }, plain("b", "Reading the list of features")));
  const bottom = edge(app, host);
  bottom.draw();
  frame.append(plain("div.grid", top.node, top.lines, left, right), bottom.node);
  frame.addEventListener("click", () => {
    // What was clicked may be gone by now: its keys must not fall to the page.
    const at = /** @type {ShadowRoot} */ (frame.getRootNode()).activeElement;
    if (!at?.checkVisibility()) frame.focus({ preventScroll: true });
  });
  const connection = () => {
    if (!app.listing) alive(connected); // a view that was saved never had a kernel
    top.connected(connected, gone, store?.count() ?? 0);
    chosen?.connected(connected);
  };
  let [connected, gone] = [true, false];
  app.messages = messenger(model, {
    signal,
    connection(...now) {
      [connected, gone] = now;
      connection();
    },
    heard: guarded((content) => {
      if (content.kind === "labels") store?.take(content.labels);
    }),
  });
  /** @type {ReturnType<typeof filters>} */ let sieve;
  /** @type {ReturnType<typeof list>} */ let rows;
  /** @type {ReturnType<typeof detail>} */ let chosen;
  /** @type {ReturnType<typeof edits>} */ let store;
  const views = features(app);
  const askFiring = firing(app, () => sift());

  async function load() {
    const { content, buffers } = await app.messages.ask("listing");
    if (signal.aborted) return;
    app.listing = decodeListing(content, buffers);
    store = edits(app, { say: top.say, scored, changed: guarded(labelled) });
    sieve = filters(app);
    rows = list(app);
    chosen = detail(app, top.say);
    fill(left, sieve.node, rows.node);
    fill(right, chosen.node);
    top.loaded();
    connection();
    keyboard(app, {
      search: () => sieve.search.focus(),
      label: chosen.editLabel,
      note: chosen.editNote,
      prompt: chosen.focusPrompt,
      star: chosen.star,
      text: chosen.toggleFull,
      walk: chosen.walk,
      full: top.fullScreen,
      help: top.showKeys,
    });
    sift();
    open();
    store.resume();
    frame.addEventListener("pointerenter", news);
    setTimeout(() => index(app.listing), 1000); // so that the first keystroke of a search need not wait for it
  }

  /** Filter and sort again. */
  function sift() {
    if (!app.listing) return;
    askFiring();
    app.shown = matching(app.listing, model.get("filter"), model.get("sort"));
    sieve.draw();
    rows.changed();
  }

  /** @param {number[]} latents  whose label, star or note is another now */
  function labelled(latents) {
    app.shown = matching(app.listing, model.get("filter"), model.get("sort"));
    sieve.draw();
    rows.draw();
    chosen.relabel(latents);
    connection();
    if (!views.get(app.latent)) open(); // it was forgotten
  }

  /** Explanations of these latents were scored: there may be a better score, and others to show. @param {number[]} latents */
  function scored(latents) {
    latents.forEach(views.forget);
    sieve.measure();
  }

  /** @param {Record<string, any>} changes */
  function filter(changes) {
    const merged = Object.entries({ ...model.get("filter"), ...changes }).filter(([, value]) => value !== undefined);
    app.set("filter", Object.fromEntries(merged));
  }

  /** @param {number} latent */
  function select(latent) {
    if (latent === model.get("feature")) return;
    if (!app.listing.has(latent))
      return top.say(`Feature ${latent} is not in this file, which has ${app.listing.count}.`);
    views.ahead(latent); // before Python hears of the choice: whoever follows it there may take long
    app.set("feature", latent); // whose change opens it
  }

  /** @param {number} step */
  function step(step) {
    if (!app.shown.length) return;
    const at = app.shown.indexOf(app.latent);
    const next = at < 0 ? 0 : Math.min(app.shown.length - 1, Math.max(0, at + step));
    select(app.shown[next]);
  }

  function open() {
    if (!app.listing) return;
    const latent = model.get("feature");
    const kept = views.get(latent);
    if (kept || latent !== app.latent || !app.view) {
      chosen.leave();
      app.latent = latent;
      app.view = kept;
      chosen.draw();
    } // else something of it was measured: what the reader looks at stays until it is read anew
    rows.reveal();
    if (kept) return settle();
    views.fetchView(latent).then(
      guarded((view) => {
        if (signal.aborted || app.latent !== latent) return; // another was opened meanwhile
        app.view = view;
        chosen.draw();
        settle();
      }),
      (error) => {
        if (!signal.aborted && app.latent === latent) chosen.unreadable(error, open);
      },
    );
  }

  /** What another notebook or cell stored; it can wait. */
  const news = () => {
    store.poll().catch(() => {});
  };

  /** After a feature is drawn: what others wrote, and the features that are likely next. */
  function settle() {
    const { latent } = app;
    setTimeout(() => {
      if (signal.aborted || app.latent !== latent || !app.view) return; // it was forgotten, and comes again
      news();
      const at = app.shown.indexOf(latent);
      if (at >= 0) views.ahead(app.shown[at + 1], app.shown[at - 1]); // j and k
      const waits = Object.values(app.view.numbers).some(({ later }) => later);
      if (waits && app.listing.hasModel)
        app.messages.ask("measure", { latent }).catch(({ message }) => top.say(message));
    }, 50);
  }

  load().catch((error) => {
    if (signal.aborted) return;
    fill(
      right,
      element(
        "div.big",
        { role: "alert" },
        plain("b", "The list of features could not be read"),
        plain("p", error.message),
      ),
    );
    fill(left);
  });

  return begin(
    () => rows?.reveal(),
    [
      ["change:feature", open],
      ["change:filter", sift],
      ["change:sort", sift],
      ["change:tab", () => chosen?.drawTab()],
      ["change:height", bottom.draw],
    ],
  );
}

export default { render };
