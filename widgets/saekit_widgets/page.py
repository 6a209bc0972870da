"""One widget as a page of its own: bundle, state and a kernel's answers, in one file that opens offline."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

Answer = tuple[dict[str, Any], Sequence[bytes]]
"""what a kernel sends: JSON content and binary buffers"""

# The stand-in for a kernel. A question is looked up by its kind, or by kind and latent; what is not in the file gets
# the sentence for its kind. Content is parsed from JSON, never from markup.
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>%(title)s</title>
<style>
body{margin:0;padding:12px;font:12px/16px system-ui,sans-serif;background:var(--jp-layout-color1);
--jp-layout-color1:#fff;--jp-ui-font-color0:#000;--jp-brand-color1:#1976d2;--jp-error-color1:#c62828}
@media (prefers-color-scheme:dark){body{color-scheme:dark;
--jp-layout-color1:#212121;--jp-ui-font-color0:#fff;--jp-brand-color1:#2196f3;--jp-error-color1:#ef7070}}
</style></head><body>
<script type="application/json" id="data">%(data)s</script>
<script type="module">
const {module, state, answers, refusals} = JSON.parse(document.getElementById("data").textContent);
const {default: widget} = await import(URL.createObjectURL(new Blob([module], {type: "text/javascript"})));
const listeners = new Map();
const fire = (name, ...values) => [...(listeners.get(name) ?? [])].forEach((call) => call(...values));
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const model = {
  get: (name) => state[name],
  set: (name, value) => { if (state[name] !== value) { state[name] = value; fire("change:" + name); } },
  save_changes: () => {},
  on: (name, call) => listeners.set(name, [...(listeners.get(name) ?? []), call]),
  off: (name, call) => listeners.set(name, (listeners.get(name) ?? []).filter((one) => one !== call)),
  send: ({kind, id, latent}) => queueMicrotask(() => {
    const found = answers[kind + ":" + latent] ?? answers[kind];
    if (found) fire("msg:custom", {...found[0], id}, found[1].map(bytes));
    else fire("msg:custom", {kind: "error", id, message: refusals[kind] ?? "Not in this file."}, []);
  }),
};
const el = document.createElement("main");
widget.render({model, el});
document.body.append(el);
window.ready = true;
</script></body></html>
"""


def offline_page(
    *, title: str, module: str, state: Mapping[str, Any], answers: Mapping[str, Answer], refusals: Mapping[str, str]
) -> str:
    """The page. `answers` is keyed "kind" or "kind:latent"; `refusals` has a sentence a kind for what is missing."""
    data = {
        "module": module,
        "state": dict(state),
        "answers": {
            key: [content, [base64.b64encode(buffer).decode("ascii") for buffer in buffers]]
            for key, (content, buffers) in answers.items()
        },
        "refusals": dict(refusals),
    }
    # Inside a script element only "<" could end it early.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    # A lone surrogate cannot be written as UTF-8; JSON can say it.
    text = "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text)
    return _PAGE % {"title": html.escape(title), "data": text}
