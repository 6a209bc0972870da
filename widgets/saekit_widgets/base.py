"""What a widget leaves in a notebook: its live view, and after it a saved card that stands there without a kernel.

A trusted notebook prefers a view to everything else in the same output, even one whose widget is gone with its kernel
("Error displaying widget: model not found"). So the card is an output of its own, of plain HTML. Its style sheet hides
it while the live view is on the page, and else hides the output before it, where the dead view says its error.
Where style sheets are taken away (a notebook that is not trusted, GitHub), no view is drawn, and the card is there.
"""

from __future__ import annotations

import sys
import uuid
from html import escape
from typing import Any, TextIO

import anywidget
import traitlets

SAVED, LIVE = "data-saekit-saved", "data-saekit-live"  # attributes of a card and of its view
AGAIN = "A picture, while no kernel answers: run this cell again to bring it to life."

# An output of JupyterLab, Notebook and nbconvert; one of VS Code. Elsewhere the card alone is hidden and shown.
_OUTPUT = ":is(.jp-OutputArea-child,.output_container)"
# A view takes a moment to be drawn: until then the card has its place and is not seen.
_STYLE = """<style>
body:has([%(live)s="%(id)s"]) :is(%(output)s:has([%(saved)s="%(id)s"]),[%(saved)s="%(id)s"]),
%(output)s:not(:has([%(live)s="%(id)s"])):has(+%(output)s [%(saved)s="%(id)s"]){display:none}
[%(saved)s]{animation:saekit-saved 1ms .4s backwards}
@keyframes saekit-saved{from{visibility:hidden}}
[%(saved)s]>p:first-child{font:11px/16px var(--jp-ui-font-family,system-ui,sans-serif);opacity:.7;margin:0 0 4px}
</style>"""


class Displayed:
    """What is displayed live and leaves a card: `_live_view` and `_saved` of a subclass say how. It works as the last
    line of a cell, with `display`, and as often as one likes."""

    _live: Any = ""  # what a view and its card have in common; the view's element has it as the attribute LIVE

    def _live_view(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The view by mime type, and metadata."""
        raise NotImplementedError

    def _saved(self) -> str:
        """HTML without script or address."""
        raise NotImplementedError

    def _note(self) -> str:
        """The sentence over the card; "" for none."""
        return AGAIN

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The view alone, for whatever does not display it as below."""
        data, metadata = self._live_view()
        return {**data, "text/plain": repr(self)}, metadata

    def _ipython_display_(self) -> None:
        if not in_notebook():
            raise NotImplementedError  # which IPython takes for: draw it by its text
        from IPython.display import publish_display_data

        publish_display_data(*self._repr_mimebundle_())
        self._publish_card()

    def _publish_card(self, *, update: bool = False) -> None:
        """The card, or its present state in place of all that were published."""
        from IPython.display import publish_display_data

        card = {"text/html": self._card()}
        publish_display_data(card, transient={"display_id": f"saekit-{self._live}"}, update=update)

    def _card(self) -> str:
        try:
            saved = self._saved()
        except Exception as error:  # what cannot be read must not hide the view that says so
            saved = f"<p>{escape(str(error))}</p>"
        style = _STYLE % {"id": self._live, "saved": SAVED, "live": LIVE, "output": _OUTPUT}
        note = f"<p>{escape(self._note())}</p>" if self._note() else ""
        return f'{style}<div {SAVED}="{self._live}">{note}{saved}</div>'


class Widget(Displayed, anywidget.AnyWidget):
    """An anywidget that leaves a card: every widget of saekit is one."""

    _live = traitlets.Unicode().tag(sync=True)

    @traitlets.default("_live")
    def _new_name(self) -> str:
        return new_name()

    def _live_view(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return plain_bundle(anywidget.AnyWidget._repr_mimebundle_(self))


def new_name() -> str:
    """A name for a view and its card that no notebook has yet, however often its kernel was restarted."""
    return uuid.uuid4().hex[:12]


def plain_bundle(bundle: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ipywidgets give out, with or without metadata or not at all, as data and metadata."""
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
    return data, metadata


def in_notebook() -> bool:
    """Whether there is a kernel to display in."""
    from IPython import get_ipython

    shell = get_ipython()  # type: ignore[no-untyped-call]
    return shell is not None and getattr(shell, "kernel", None) is not None


def progress_stream() -> TextIO:
    """Where progress is shown: under the cell, and in a script on stderr, so that stdout holds results alone."""
    return sys.stdout if in_notebook() else sys.stderr
