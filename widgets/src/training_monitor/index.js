// Live view of a training run. Small state (tokens, rate, metrics …) comes as traits; the curves come as one binary
// buffer of float64 rows (tokens, loss, explained variance; NaN where not measured), whole each time, so that a view
// opened late shows the same. A view asks for them by a message with an id, and the reply carries the id.
// There is no Stop button: a busy kernel does not read what a view sends (ipykernel 7.4 hands every message of a comm to
// the thread that last wrote to it, which is the one that trains). The notebook's own stop button interrupts it.

import { columns, float64 } from "../shared/buffers.js";
import { element, plain } from "../shared/dom.js";
import { compact, duration, number, partOf } from "../shared/numbers.js";
import theme from "../shared/theme.css";
import { widget } from "../shared/widget.js";
import { curve } from "./curve.js";
import style from "./style.css";

const CURVES = /** @type {const} */ ([
  ["loss", "loss"],
  ["explained_variance", "explained variance"],
]);
const NAMES = { l0: "L0", ce_recovered: "loss recovered" };

/** @param {{model: import("../shared/messages.js").Model, el: HTMLElement}} context */
function render({ model, el }) {
  const title = element("b");
  const facts = element("span.facts");
  const hint = plain("span.hint", "■ in the toolbar stops it");
  const fill = element("i");
  const progress = element(
    "div.progress",
    { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", label: "training" },
    fill,
  );
  const numbers = element("dl.numbers");
  const spoken = element("div.hidden", { "aria-live": "polite" });
  const message = element("div.message", { hidden: "", role: "alert" });
  const panels = element("div.panels");
  const box = element(
    "section.sk",
    { label: "training monitor" },
    plain("div.bar", title, facts, hint),
    progress,
    panels,
    numbers,
    message,
    spoken,
  );
  const { signal, guarded, begin } = widget({ model, el }, box, [theme, style], (error) => {
    message.textContent = `The monitor could not draw: ${error}`;
    message.hidden = false;
  });
  const curves = CURVES.map(([name, label]) => curve(name, label, signal));
  panels.append(...curves.map((one) => one.panel));

  let asked = 0; // id of the latest question
  let saidTenth = -1;

  function drawState() {
    const [tokens, total, finished] = [model.get("tokens"), model.get("total_tokens"), model.get("finished")];
    const [rate, seconds, metrics] = [model.get("tokens_per_second"), model.get("seconds"), model.get("metrics")];
    const [stopped, told, waited] = [model.get("stopped"), model.get("seconds_left"), model.get("waited")];
    const left = told >= 0 ? told : rate > 0 ? (total - tokens) / rate : -1;
    const latents = model.get("latents");
    const share = total > 0 ? Math.min(tokens / total, 1) : 0;
    const ended = finished || Boolean(stopped);
    title.textContent = stopped || (finished && share < 1) ? "Stopped" : finished ? "Trained" : "Training";
    const parts = [stopped ? stopped.replace(/^stopped /, "") : `${number(tokens)} of ${number(total)} tokens`];
    if (rate > 0) parts.push(`${compact(rate)} tokens/s`);
    if (rate > 0 && waited >= 0) parts.push(`${ended ? "waited" : "waiting"} ${Math.round(100 * waited)} %`);
    parts.push(ended || left < 0 ? duration(seconds) : `${duration(left)} left`);
    facts.replaceChildren(...parts.flatMap((part, i) => [i ? " · " : "", plain("span", part)]));
    fill.style.width = `${(100 * share).toFixed(2)}%`;
    progress.setAttribute("aria-valuenow", (100 * share).toFixed(0));
    progress.setAttribute("aria-valuetext", parts.join(", "));
    hint.hidden = ended || tokens === 0;
    numbers.replaceChildren(
      ...Object.entries(metrics)
        .filter(([name]) => !CURVES.some(([drawn]) => drawn === name))
        .map(([name, value]) =>
          plain(
            "div",
            plain("dt", NAMES[/** @type {keyof typeof NAMES} */ (name)] ?? name.replaceAll("_", " ")),
            plain("dd", name === "dead" && latents > 0 ? partOf(value, latents) : number(value)),
          ),
        ),
    );
    const tenth = ended ? 11 : Math.floor(10 * share); // a screen reader hears ten words a run, not ten a second
    if (tenth !== saidTenth) spoken.textContent = `${title.textContent}: ${parts.join(", ")}`;
    saidTenth = tenth;
  }

  /** @param {any} content @param {DataView[]} buffers */
  function receive(content, buffers) {
    if (content.id !== undefined && content.id !== asked) return; // the answer to an older question, or to another view
    if (content.kind === "error") throw new Error(content.message);
    if (content.kind !== "history") return;
    const [tokens, ...values] = columns(float64(buffers[0]), 1 + CURVES.length);
    curves.forEach((one, i) => one.show(tokens, values[i], model.get("total_tokens")));
    drawState();
  }

  const ask = () => model.send({ kind: "history", id: (asked = Math.floor(Math.random() * 2 ** 48)) });

  const traits = [
    "tokens",
    "total_tokens",
    "seconds",
    "tokens_per_second",
    "waited",
    "metrics",
    "latents",
    "finished",
    "stopped",
    "seconds_left",
  ];
  guarded(drawState)();
  ask();
  return begin(
    () => curves.forEach((one) => one.draw()),
    [
      ...traits.map((name) => /** @type {[string, () => void]} */ ([`change:${name}`, drawState])),
      ["msg:custom", receive],
    ],
  );
}

export default { render };
