"""Drives a real JupyterLab with a real browser: open a notebook, Run All, see what was drawn and what was asked for.

    with Lab(run, folder) as lab, lab.page(browser, "notebook.ipynb", theme="dark") as notebook:
        notebook.run_all(seconds=180)
        notebook.errors(), notebook.charts(), notebook.external, notebook.screenshots("name")

`run` is notebooks/run.py as a module: the server is started the way `make lab` starts it.
"""

from __future__ import annotations

import ast
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
VEGALITE = "application/vnd.vegalite.v5+json"


class Lab:
    """A JupyterLab server on `folder` with settings of its own, ended on leaving the `with` block."""

    def __init__(self, run: Any, folder: Path) -> None:
        self.run, self.folder, self.token = run, folder, secrets.token_hex(8)
        self.port = run._free_port(18888)
        self.home = tempfile.TemporaryDirectory(prefix="lab-")

    def __enter__(self) -> Lab:
        home = Path(self.home.name)
        own = {f"JUPYTER{name}": str(home / name) for name in ("_CONFIG_DIR", "_DATA_DIR", "_RUNTIME_DIR")}
        own |= {f"JUPYTERLAB{name}": str(home / name) for name in ("_SETTINGS_DIR", "_WORKSPACES_DIR")}
        # The page's application object says when a kernel is idle and what the outputs are, drawn or scrolled away.
        command = [*self.run.lab_command(self.port, self.folder), "--LabApp.expose_app_in_browser=True"]
        self.log = (home / "log").open("w")
        self.server = subprocess.Popen(
            command, env={**self.run.lab_environment(self.token), **own}, stdout=self.log, stderr=subprocess.STDOUT
        )
        end = time.monotonic() + 60
        while not self.run._answers(self.port):
            if self.server.poll() is not None or time.monotonic() > end:
                said = (home / "log").read_text()[-2000:]
                self.__exit__()
                raise RuntimeError(f"JupyterLab did not start:\n{said}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.terminate()
        self.server.wait(timeout=30)
        self.log.close()
        self.home.cleanup()

    @contextmanager
    def page(
        self, browser: Any, notebook: str, *, theme: str = "light", width: int = 1280, height: int = 1000
    ) -> Iterator[Notebook]:
        """The notebook (a path inside the folder), open and with its kernel connected."""
        settings = Path(self.home.name) / "_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True, exist_ok=True)
        wanted = {"theme": f"JupyterLab {theme.capitalize()}"}
        (settings / "themes.jupyterlab-settings").write_text(json.dumps(wanted))
        page = browser.new_page(viewport={"width": width, "height": height})
        opened = Notebook(page)
        page.on("request", lambda request: opened.requests.append(request.url))
        page.on("console", lambda said: opened.console.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: opened.console.append(str(error)))
        page.on("dialog", lambda dialog: (opened.console.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        try:
            page.goto(f"http://127.0.0.1:{self.port}/lab/tree/{notebook}?token={self.token}&reset")
            page.wait_for_selector(".jp-Notebook-cell", timeout=60_000)
            page.wait_for_function(f"() => {_KERNEL}?.status === 'idle'", timeout=60_000)
            page.keyboard.press("Control+b")  # the file browser away: the notebook gets the width
            yield opened
        finally:
            page.close()


_PANEL = "window.jupyterapp.shell.currentWidget"
_KERNEL = f"{_PANEL}?.sessionContext?.session?.kernel"
_DATA = """(model) => [...Array(model.cells.length).keys()].map(i => model.cells.get(i).toJSON().outputs ?? [])"""


@dataclass
class Notebook:
    """One open notebook in the browser."""

    page: Any
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    @property
    def external(self) -> list[str]:
        """Requests that left this machine, or would have asked the server to ask for news or updates."""
        asks = ("/lab/api/news", "/lab/api/update")
        inside = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(inside) or any(ask in url for ask in asks)]

    def start_all(self) -> None:
        """Run All Cells from the menu; returns at once."""
        self.page.click("text=Run >> nth=0")
        self.page.click("text=Run All Cells")

    def run_all(self, *, seconds: float) -> float:
        """Run All Cells and wait for the last; the seconds it took. TimeoutError after `seconds`."""
        start = time.monotonic()
        self.start_all()
        self.page.wait_for_timeout(300)
        self.wait(seconds=seconds)
        return time.monotonic() - start

    def wait(self, *, seconds: float) -> None:
        """Wait until no cell is running or waiting to; TimeoutError after `seconds`."""
        self.page.wait_for_function(
            f"""() => {_KERNEL}?.status === 'idle' &&
                [...{_PANEL}.content.widgets].every(w => w.model.type !== 'code' || w.prompt !== '*')""",
            timeout=seconds * 1000,
        )
        self.page.wait_for_timeout(500)  # what the last message brought is drawn

    def outputs(self) -> list[list[dict[str, Any]]]:
        """The outputs of each cell, as they would be saved."""
        return self.page.evaluate(f"() => ({_DATA})({_PANEL}.content.model)")

    def errors(self) -> list[str]:
        """Errors of cells, in short."""
        return [
            f"{output['ename']}: {output['evalue']}"
            for outputs in self.outputs()
            for output in outputs
            if output["output_type"] == "error"
        ]

    def command(self, name: str, **arguments: Any) -> None:
        """A command of JupyterLab, as its menus give it."""
        self.page.evaluate("([name, given]) => window.jupyterapp.commands.execute(name, given)", [name, arguments])

    def ask(self, expression: str) -> Any:
        """The value of an expression in the kernel, by JSON; what it raises is raised here."""
        code = f"__import__('json').dumps({expression})"
        run = f"""async (code) => (await {_KERNEL}.requestExecute(
            {{code: '', silent: true, store_history: false, user_expressions: {{value: code}}}}).done).content"""
        said = self.page.evaluate(run, code)["user_expressions"]["value"]
        assert said["status"] == "ok", f"{expression}: {said['ename']}: {said['evalue']}"
        return json.loads(ast.literal_eval(said["data"]["text/plain"]))

    def show(self, index: int, align: str = "start") -> Any:
        """Scroll to a cell; its element."""
        self.page.evaluate(f"async ([i, at]) => {{ await {_PANEL}.content.scrollToItem(i, at) }}", [index, align])
        return self.page.locator(f".jp-Notebook-cell >> nth={index}")

    def run_cell(self, index: int, *, seconds: float = 60) -> None:
        """Run one cell and wait for it."""
        self.page.evaluate(f"(i) => {{ {_PANEL}.content.activeCellIndex = i; }}", index)
        self.command("notebook:run-cell")
        self.wait(seconds=seconds)

    def reload(self) -> None:
        """The page again, as a reader reloads it."""
        self.page.reload()
        self.page.wait_for_selector(".jp-Notebook-cell", timeout=60_000)
        self.page.wait_for_function(f"() => {_KERNEL}?.status === 'idle'", timeout=60_000)

    def restart_kernel(self) -> None:
        self.page.evaluate(f"async () => {{ await {_PANEL}.sessionContext.restartKernel() }}")
        self.page.wait_for_function(f"() => {_KERNEL}?.status === 'idle'", timeout=60_000)

    def save(self) -> None:
        self.page.evaluate(f"() => {_PANEL}.context.save()")

    def charts(self) -> tuple[int, int]:
        """How many charts the cells hold, and how many of them are really drawn when scrolled to."""
        held = drawn = 0
        for index, outputs in enumerate(self.outputs()):
            here = sum(VEGALITE in output.get("data", {}) for output in outputs)
            if here:
                held += here
                drawn += self._drawn(index, here)
        return held, drawn

    def _drawn(self, index: int, expected: int) -> int:
        self.page.evaluate(f"async (i) => {{ await {_PANEL}.content.scrollToItem(i, 'center') }}", index)
        count = f"""(i) => [...{_PANEL}.content.widgets[i].node.querySelectorAll('.jp-RenderedVegaCommon5 svg')]
            .filter(svg => svg.getBoundingClientRect().width > 50 && svg.querySelector('path')).length"""
        end = time.monotonic() + 20
        while (found := self.page.evaluate(count, index)) < expected and time.monotonic() < end:
            self.page.wait_for_timeout(200)
        return found

    def screenshots(self, name: str) -> list[Path]:
        """The whole notebook, a screen at a time, into SAEKIT_SHOTS (default build/shots) as name_00.png …"""
        folder = Path(os.environ.get("SAEKIT_SHOTS", REPOSITORY / "build" / "shots"))
        folder.mkdir(parents=True, exist_ok=True)
        scroll = f"{_PANEL}.content.node.querySelector('.jp-WindowedPanel-outer')"
        self.page.evaluate(f"() => {{ {scroll}.scrollTop = 0 }}")
        shots: list[Path] = []
        while len(shots) < 40:
            self.page.wait_for_timeout(700)
            shots.append(folder / f"{name}_{len(shots):02d}.png")
            self.page.screenshot(path=str(shots[-1]))
            further = f"""() => {{
                const e = {scroll}, end = {_PANEL}.content.widgets.at(-1).node;
                const more = end.getBoundingClientRect().bottom > e.getBoundingClientRect().bottom;
                if (more) e.scrollTop += e.clientHeight - 80;
                return more;
            }}"""
            if not self.page.evaluate(further):
                break
        return shots
