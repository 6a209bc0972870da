"""One widget as a page of its own: bundle, state and a kernel's answers, packed, in one file that opens offline."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

Answer = tuple[dict[str, Any], Sequence[bytes]]
"""what a kernel sends: JSON content and binary buffers"""

# The stand-in for a kernel. A question is looked up by its kind, or by kind and latent; what is not in the file gets
# the sentence for its kind. Content is parsed from JSON, never from markup, each answer when it is asked for. The
# widget fills the window and has the keys from the first one on. The page's address says which feature is open.
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>%(title)s</title>
<style>
body{margin:0;font:12px/16px system-ui,sans-serif;background:var(--jp-layout-color1);color:var(--jp-ui-font-color0);
--jp-layout-color1:#fff;--jp-ui-font-color0:#000;--jp-brand-color1:#1976d2;--jp-error-color1:#c62828}
main{box-sizing:border-box;height:100vh;padding:8px}
@media (prefers-color-scheme:dark){body{color-scheme:dark;
--jp-layout-color1:#212121;--jp-ui-font-color0:#fff;--jp-brand-color1:#2196f3;--jp-error-color1:#ef7070}}
</style></head><body><main></main>
<script type="text/plain" id="data">%(data)s</script>
<script type="module">
const main = document.querySelector("main");
try {
  const text = atob(document.getElementById("data").textContent), packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const all = new Uint8Array(await new Response(stream).arrayBuffer());
  const said = (part) => JSON.parse(new TextDecoder().decode(part));
  let at = all.indexOf(10) + 1;
  const take = (length) => all.subarray(at, at += length);
  const {bundle, state, answers, refusals} = said(all.subarray(0, at));
  const code = new Blob([take(bundle)], {type: "text/javascript"});
  const {default: widget} = await import(URL.createObjectURL(code));
  const found = new Map(answers.map(([key, length, lengths]) => [key, [take(length), lengths.map(take)]]));
  const linked = () => found.has("feature:" + location.hash.slice(1)) ? Number(location.hash.slice(1)) : null;
  state.feature = linked() ?? state.feature;
  const listeners = new Map();
  const fire = (name, ...values) => [...(listeners.get(name) ?? [])].forEach((call) => call(...values));
  const view = ({buffer, byteOffset, byteLength}) => new DataView(buffer, byteOffset, byteLength);
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      if (state[name] === value) return;
      state[name] = value;
      if (name === "feature") location.replace("#" + value); // the address is a link to it
      fire("change:" + name);
    },
    save_changes: () => {},
    on: (name, call) => listeners.set(name, [...(listeners.get(name) ?? []), call]),
    off: (name, call) => listeners.set(name, (listeners.get(name) ?? []).filter((one) => one !== call)),
    send: ({kind, id, latent}) => queueMicrotask(() => {
      const [content, buffers] = found.get(kind + ":" + latent) ?? found.get(kind) ?? [];
      if (content) fire("msg:custom", {...said(content), id}, buffers.map(view));
      else fire("msg:custom", {kind: "error", id, message: refusals[kind] ?? "Not in this file."}, []);
    }),
  };
  widget.render({model, el: main});
  addEventListener("hashchange", () => linked() !== null && model.set("feature", linked()));
  const focus = () => main.firstElementChild.shadowRoot?.querySelector("[tabindex]")?.focus({preventScroll: true});
  focus();
  addEventListener("keydown", (event) => {
    if (event.target !== document.body) return; // beside the widget was clicked
    focus();
    main.firstElementChild.shadowRoot?.activeElement?.dispatchEvent(new KeyboardEvent("keydown", event));
  });
  window.ready = true;
} catch (error) {
  main.textContent = "This page needs a browser of 2023 or later. " + error;
}
</script></body></html>
"""


def offline_page(
    *, title: str, module: bytes, state: Mapping[str, Any], answers: Mapping[str, Answer], refusals: Mapping[str, str]
) -> str:
    """The page. `answers` is keyed "kind" or "kind:latent"; `refusals` has a sentence a kind for what is missing.

    Packed are a line of JSON, the bundle, and of each answer its JSON and its buffers; the line has their lengths."""
    parts, index = [module], []
    for key, (content, buffers) in answers.items():
        said = _json(content)
        parts += [said, *buffers]
        index.append([key, len(said), [len(buffer) for buffer in buffers]])
    head = {"bundle": len(module), "state": dict(state), "answers": index, "refusals": dict(refusals)}
    packed = gzip.compress(b"".join([_json(head), b"\n", *parts]), compresslevel=6, mtime=0)
    return _PAGE % {"title": html.escape(title), "data": base64.b64encode(packed).decode("ascii")}


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate cannot be written as UTF-8; JSON can say it
        return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text).encode("utf-8")
