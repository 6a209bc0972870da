// Features that point the same way (cosine of decoder rows) and features that fire on the same tokens (φ).

import { element, fill, plain } from "../shared/dom.js";
import { absent, panelOf } from "./definitions.js";
import { nameOf } from "./listing.js";
import { fixed, share, tenth } from "./words.js";

/** @param {{latent: number, cosine: number, phi: number | null}[]} rows @param {"cosine" | "phi"} by */
export const ranked = (rows, by) =>
  [...rows].sort((a, b) => (b[by] ?? -Infinity) - (a[by] ?? -Infinity) || a.latent - b.latent);

/** The panel's maker; it remembers by what the reader sorts. @param {import("./app.js").App} app */
export function neighbours(app) {
  let by = /** @type {"cosine" | "phi"} */ ("cosine");
  return () =>
    panel(
      app,
      () => by,
      (chosen) => {
        by = chosen;
      },
    );
}

/** @param {import("./app.js").App} app @param {() => "cosine" | "phi"} by @param {(by: "cosine" | "phi") => void} sortBy */
function panel(app, by, sortBy) {
  const rows = app.view.neighbours ?? [];
  const why = absent(app, "neighbours");
  if (!rows.length) return panelOf(app, "neighbours", "Neighbours", null, absent(app, "neighbours", "None measured."));
  const body = element("tbody");
  const heads = element("tr");
  const cell = (/** @type {number | null} */ value) =>
    plain(
      "td.value",
      element("i", { style: `--w:${(22 * Math.max(0, value ?? 0)).toFixed(1)}px` }),
      plain("span", share(value)),
    );

  function draw() {
    const head = (/** @type {"cosine" | "phi"} */ name, /** @type {string} */ title) =>
      element(
        "th",
        { scope: "col", "aria-sort": by() === name ? "descending" : "none" },
        element(
          "button.link",
          {
            onclick: () => {
              sortBy(name);
              draw();
            },
          },
          title + (by() === name ? " ↓" : ""),
        ),
      );
    fill(
      heads,
      element("th", { scope: "col" }, "#"),
      element("th.name", { scope: "col" }, "label"),
      head("cosine", "cos"),
      head("phi", "φ"),
    );
    fill(
      body,
      ...ranked(rows, by()).map(({ latent, cosine, phi }) => {
        const { text, own } = nameOf(app.listing, latent);
        return plain(
          "tr",
          plain(
            "td",
            app.listing.has(latent)
              ? element(
                  "button.link.mono",
                  { label: `open feature ${latent}`, onclick: () => app.select(latent) },
                  latent,
                )
              : element("span.mono.dim", { title: "not in this file" }, latent),
          ),
          element(`td.name${own ? "" : ".dim"}`, { title: text.slice(0, 300) }, text.slice(0, 300)),
          cell(cosine),
          cell(phi),
        );
      }),
    );
  }

  draw();
  return panelOf(
    app,
    "neighbours",
    "Neighbours",
    `decoder norm ${fixed(app.view.decoder_norm)}`,
    plain("table", plain("thead", heads), body),
    why,
  );
}
