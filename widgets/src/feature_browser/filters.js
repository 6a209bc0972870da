// Search, the histograms that filter, concept and switches, and how many features are left.

import { button } from "../shared/controls.js";
import { element, fill, plain } from "../shared/dom.js";
import { question } from "./definitions.js";
import { matching, nearestLabel } from "./filtering.js";
import { rangeFilter } from "./ranges.js";
import { deadOf, nameOf } from "./listing.js";
import { titled, whole } from "./words.js";

const USUAL = 2; // columns whose filters are always seen, the others on demand
const TYPING = 60; // ms of rest before a keystroke of search is followed

/** @param {import("./app.js").App} app */
export function filters(app) {
  const { listing } = app;
  const now = () => app.model.get("filter") ?? {};
  const isUsual = (/** @type {string} */ name) => listing.about.slice(0, USUAL).some((column) => column.name === name);
  const titleOf = (/** @type {string} */ name) => listing.about.find((column) => column.name === name)?.title ?? name;
  let timer = 0;
  const search = element("input.field", {
    type: "search",
    placeholder: "label, word, concept or number",
    label: "search features",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => app.filter({ search: search.value || undefined }), TYPING);
    },
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") chooseFirst();
      if (event.key === "Escape" && search.value) {
        event.stopPropagation();
        search.value = "";
        app.filter({ search: undefined });
      }
    },
  });

  /** Enter in the search: the feature of that number, else the first that is found. */
  function chooseFirst() {
    clearTimeout(timer);
    app.filter({ search: search.value || undefined });
    const number = Number(search.value);
    if (search.value.trim() && Number.isInteger(number) && number >= 0 && number < listing.size) app.select(number);
    else if (app.shown.length) app.select(app.shown[0]);
  }

  /** @type {{name: string, made: ReturnType<typeof rangeFilter>}[]} */ let ranges;
  const pair = plain("div.pair");
  const more = element("div.pair", { hidden: true });
  const opener = button("More", () => open(more.hidden), { "aria-expanded": "false" });

  /** The histograms, of what is measured now. */
  function measure() {
    const made = listing.about.filter(({ filterable }) => filterable);
    ranges = made
      .map((column) => ({
        name: column.name,
        made: rangeFilter(listing, column, titled(column), (range) => app.filter({ [column.name]: range })),
      }))
      .filter((one) => one.made);
    const rare = ranges.filter(({ name }) => !isUsual(name));
    fill(
      pair,
      ranges.filter((one) => !rare.includes(one)).map(({ made }) => made?.node),
    );
    fill(
      more,
      rare.map(({ made }) => made?.node),
    );
    opener.hidden = !rare.length;
    opener.title = `filter by ${rare.map(({ name }) => titleOf(name)).join(", ")}`;
  }

  /** @param {boolean} on */
  function open(on) {
    more.hidden = !on;
    opener.ariaExpanded = String(on);
  }

  const concept = element(
    "select.field",
    { label: "best matched concept", onchange: () => app.filter({ concept: concept.value || undefined }) },
    element("option", { value: "" }, "any concept"),
    listing.concepts.map((name) => element("option", { value: name }, name)),
  );
  const toggle = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ title) =>
    button(label, () => app.filter({ [name]: now()[name] ? undefined : true }), { "aria-pressed": "false", title });
  const starred = toggle("starred", "Starred", "only starred features");
  const dead = toggle("dead", "Dead", `only what never fired in this store: ${deadOf(listing)}`);
  const count = element("span.dim", { role: "status" });
  const sort = element("select.plain", {
    label: "sorted by",
    onchange: () => app.set("sort", sort.value ? [sort.value, sort.value !== "latent"] : null),
  });
  const nothing = element("div.nothing", { hidden: true });
  const node = element(
    "div.filters",
    {},
    plain("div.search", search, element("kbd", { "aria-hidden": "true" }, "/")),
    pair,
    more,
    plain("div.row.switches", listing.concepts.length > 0 && concept, starred, dead, opener),
    plain("div.row.count", count, element("span.grow"), sort, question(app, "list")),
    nothing,
  );

  /** Which filter empties the list, and the ways out. */
  function explain() {
    const filter = now();
    const sorting = app.model.get("sort");
    const said = /** @type {Record<string, string>} */ ({
      search: `the search “${filter.search}”`,
      concept: `the concept ${filter.concept}`,
      starred: "only starred",
      dead: "only dead",
    });
    const ways = Object.keys(filter)
      .map((key) => ({ key, left: matching(listing, { ...filter, [key]: undefined }, sorting).length }))
      .filter(({ left }) => left > 0);
    const near = filter.search ? nearestLabel(listing, filter.search) : -1;
    fill(
      nothing,
      plain("b", "No feature matches"),
      filter.search &&
        listing.off.token &&
        plain("p.dim", `What fires on a token is not looked up. ${listing.off.token}`),
      ways.length > 0 &&
        plain(
          "p.dim",
          ways
            .map(({ key, left }) => `Without ${said[key] ?? `the range of ${titleOf(key)}`}: ${whole(left)}. `)
            .join(""),
        ),
      plain(
        "div.row.wrap",
        ways.map(({ key }) =>
          button(`Drop ${key === "search" ? "the search" : key.replace("_", " ")}`, () =>
            app.filter({ [key]: undefined }),
          ),
        ),
        button("Show all", () => app.set("filter", {})),
        near >= 0 &&
          button(`${near} ${nameOf(listing, near).text.slice(0, 40)}`, () => app.select(near), {
            title: "the nearest label",
          }),
      ),
    );
  }

  measure();
  return {
    node,
    search,
    measure,
    draw() {
      const filter = now();
      if (search.value !== (filter.search ?? "") && !search.matches(":focus")) search.value = filter.search ?? "";
      for (const { name, made } of ranges) made?.show(filter[name]);
      if (ranges.some(({ name }) => filter[name] && !isUsual(name))) open(true);
      concept.value = filter.concept ?? "";
      starred.ariaPressed = String(Boolean(filter.starred));
      dead.ariaPressed = String(Boolean(filter.dead));
      fill(
        sort,
        element("option", { value: "" }, listing.order.words),
        element("option", { value: "latent" }, "by number"),
        listing.about
          .filter(({ name }) => listing.columns[name].some((value) => !Number.isNaN(value)))
          .map(({ name, head }) => element("option", { value: name }, `by ${head}`)),
      );
      sort.value = app.model.get("sort")?.[0] ?? "";
      fill(count, whole(app.shown.length), plain("span.total", ` of ${whole(listing.count)}`));
      const firing = listing.firing.get(filter.search ?? "")?.length;
      count.title = firing ? `${whole(firing)} of them fire on this token` : "";
      nothing.hidden = app.shown.length > 0;
      if (!app.shown.length) explain();
    },
  };
}
