"""A page that hosts one widget offline: a stand-in for the front end, in two kilobytes."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # fake_store.py, for the tests beside it

REPOSITORY = Path(__file__).resolve().parents[2]
STATIC = REPOSITORY / "widgets" / "saekit_widgets" / "static"

# The model has the part of anywidget's interface that widgets use; `fromPython` plays the kernel, `sent` what it hears.
# Where a test exposes a function `kernel`, it gets every message and every change of a trait, and what it returns is
# delivered; `away` makes it deaf.
_PAGE = """<!doctype html><meta charset="utf-8"><body>
<script type="module">
  const widget = (await import(URL.createObjectURL(new Blob([%(module)s], {type: "text/javascript"})))).default;
  const listeners = new Map(), state = %(state)s;
  const fire = (name, ...values) => [...(listeners.get(name) ?? [])].forEach((call) => call(...values));
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const differs = (name, value) => JSON.stringify(state[name]) !== JSON.stringify(value);
  let changed = {};
  window.sent = [];
  window.away = false;
  window.busy = 0; // what Python has not answered yet
  window.saved = 0;
  window.model = {
    get: (name) => state[name],
    set: (name, value) => {
      if (!differs(name, value)) return; // as Backbone has it
      state[name] = changed[name] = value;
      fire("change:" + name);
    },
    save_changes: () => { window.saved += 1; toPython({traits: changed}); changed = {}; },
    on: (name, call) => listeners.set(name, [...(listeners.get(name) ?? []), call]),
    off: (name, call) => listeners.set(name, (listeners.get(name) ?? []).filter((one) => one !== call)),
    send: (content) => { window.sent.push(content); toPython({content}); },
  };
  const toPython = (said) => {
    if (!window.kernel || window.away) return;
    window.busy += 1;
    window.kernel(said).then((all) => all.forEach(window.fromPython.deliver)).finally(() => { window.busy -= 1; });
  };
  window.fromPython = {
    traits: (values) => {
      for (const [name, value] of Object.entries(values)) if (differs(name, value)) {
        state[name] = value;
        fire("change:" + name);
      }
    },
    message: (content, numbers) => {
      const buffers = numbers ? [new DataView(Float64Array.from(numbers, (n) => n ?? NaN).buffer)] : [];
      fire("msg:custom", content, buffers);
    },
    deliver: ({content, buffers, traits}) => {
      if (traits) return window.fromPython.traits(traits);
      const views = buffers.map(bytes);
      window.arrived ??= performance.now(); // the first message
      fire("msg:custom", content, views);
    },
    listeners: () => [...listeners.values()].flat().length,
  };
  // As a front end does: the element is still detached when render is called.
  window.view = () => {
    const el = document.createElement("div"), end = widget.render({model, el});
    document.body.append(el);
    return {el, end};
  };
  window.began = performance.now();
  requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now(); }));
  window.first = window.view();
  window.ready = true;
</script>"""


@pytest.fixture
def host(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """host(name, state, width=800): the widget's bundle on an offline page, rendered once; returns the page.

    `kernel(said)` plays Python: it gets {"content": …} or {"traits": …} and returns what to deliver.
    """
    pages = []

    def open_page(
        name: str, state: dict[str, Any], width: int = 800, motion: str = "reduce", kernel: Any = None
    ) -> Any:
        module = json.dumps((STATIC / f"{name}.js").read_text(encoding="utf-8")).replace("</", "<\\/")
        path = tmp_path / f"{len(pages)}.html"
        path.write_text(_PAGE % {"module": module, "state": json.dumps(state)}, encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 600}, reduced_motion=motion)
        if kernel is not None:
            page.expose_function("kernel", kernel)
        page.problems, page.outside = [], []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda said: page.problems.append(said.text) if said.type == "error" else None)
        page.on(
            "request", lambda r: None if r.url.startswith(("file:", "blob:", "data:")) else page.outside.append(r.url)
        )
        pages.append(page)
        page.goto(path.as_uri())
        page.wait_for_function("window.ready")
        return page

    yield open_page
    for page in pages:
        assert page.problems == [] and page.outside == []
        page.close()


class Kernel:
    """Python's side of one widget on a host page: what the page says goes to the widget, what that says goes back."""

    def __init__(self, widget: Any) -> None:
        self.widget, self._out = widget, []
        widget.send = lambda content, buffers=None: self._out.append(
            {"content": content, "buffers": [base64.b64encode(buffer).decode() for buffer in buffers or []]}
        )
        widget.observe(lambda change: self._out.append({"traits": {change["name"]: change["new"]}}), self.names)

    @property
    def names(self) -> list[str]:
        """The traits that travel."""
        return [
            name
            for name in self.widget.keys
            if not name.startswith("_") and name not in ("layout", "tabbable", "tooltip")
        ]

    @property
    def state(self) -> dict[str, Any]:
        return {name: getattr(self.widget, name) for name in self.names}

    def hear(self, said: dict[str, Any]) -> list[Any]:
        """From the page: a message, or traits that it set."""
        for name, value in said.get("traits", {}).items():
            setattr(self.widget, name, value)
            # Only what Python made of it goes back: an echo of an older value would undo a newer one.
            self._out = [one for one in self._out if one.get("traits") != {name: value}]
        if "content" in said:
            self.widget._handle_custom_msg(said["content"], [])
        return self.take()

    def take(self) -> list[Any]:
        out, self._out = self._out, []
        return out


@pytest.fixture
def live(host: Any) -> Any:
    """live(name, widget, **host's): the widget on a page, with itself as the kernel; `page.push()` brings the page what
    Python said meanwhile."""

    def open_live(name: str, widget: Any, **more: Any) -> Any:
        kernel = Kernel(widget)
        page = host(name, kernel.state, kernel=kernel.hear, **more)
        page.push = lambda: page.evaluate("all => all.forEach(fromPython.deliver)", kernel.take())
        return page

    return open_live
