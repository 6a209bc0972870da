"""Run the notebooks without a browser, or open them in one.

    python notebooks/run.py demo                            00_start_here, executed, as HTML, with a short summary
    python notebooks/run.py curriculum                      every notebook, with the seconds of each
    python notebooks/run.py run NOTEBOOK [-p name value]    one notebook with parameters
    python notebooks/run.py lab                             JupyterLab on 00_start_here

Executed notebooks and their HTML go to build/notebooks. The HTML holds all it shows and asks for nothing outside.
"""

from __future__ import annotations

import argparse
import ast
import base64
import copy
import difflib
import html
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The kernel is the one of this Python, whatever kernels the user has installed under the same name.
_OWN_KERNELS = str(Path(sys.prefix) / "share" / "jupyter")
os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [_OWN_KERNELS, os.environ.get("JUPYTER_PATH")]))

import nbformat  # noqa: E402
import papermill  # noqa: E402
from nbclient.exceptions import CellTimeoutError, DeadKernelError  # noqa: E402
from papermill.exceptions import PapermillExecutionError  # noqa: E402
from traitlets.config import Config  # noqa: E402

import saekit  # noqa: E402, F401  # how torch's threads wait: kernels inherit it, whatever they import first

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "notebooks"
FIRST = HERE / "00_start_here.ipynb"
BUDGETS = {FIRST.name: 120.0}  # seconds on two quiet cores; every other notebook has BUDGET
BUDGET, SLACK = 75.0, 3.0  # a busy machine may take SLACK times as long
CELL_SECONDS = 900  # no cell of the curriculum comes near; a cell that hangs ends the run
SUMMARY = "application/vnd.saekit.summary+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CARD = "data-saekit-saved"  # in the output after a view: what is left of it


class NotebookFailed(RuntimeError):
    """A notebook that did not run to its end (the message says which cell, why, and where what it wrote lies), or that
    took too long."""


def run_notebook(
    path: str | Path, parameters: Mapping[str, Any] | None = None, output: str | Path | None = None
) -> Any:
    """Execute a notebook in its own folder with this Python's kernel; write it to `output` and as HTML beside. The
    executed notebook (nbformat) is returned.

    parameters: replaces values of its cell tagged `parameters`; each name must occur there.
    output:     where the executed notebook goes; by default build/notebooks/ and its own name.
    Raises FileNotFoundError where there is no such notebook, ValueError for a parameter that it does not have (naming
    the nearest) or an output that is the input, NotebookFailed where a cell failed, hung, or took the kernel with it.
    """
    path = Path(path)
    if not path.is_file():
        known = difflib.get_close_matches(path.stem, [file.stem for file in HERE.glob("*.ipynb")], 1, 0.0)
        raise FileNotFoundError(f"There is no notebook {path}; the closest is notebooks/{known[0]}.ipynb.")
    output = Path(output) if output else BUILD / path.name
    if output.resolve() == path.resolve():
        raise ValueError(f"The output {output} would replace the notebook itself; name another file.")
    parameters = dict(parameters or {})
    if parameters:
        _check_parameters(path, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    interval = 0.1 if sys.stdout.isatty() else 30.0
    bar = {"desc": path.stem, "file": sys.stdout, "ncols": 80, "mininterval": interval, "leave": False}
    try:
        notebook = papermill.execute_notebook(
            path.resolve(),
            output.resolve(),
            parameters,
            kernel_name="python3",
            cwd=path.resolve().parent,
            progress_bar=bar,
            execution_timeout=CELL_SECONDS,
            config=Config(KernelManager={"transport_encryption": "auto"}),  # others on this machine could listen
        )
    except PapermillExecutionError as error:
        why = f"cell {error.cell_index} of {path.name} failed: {error.ename}: {str(error.evalue)[:500]}"
        raise NotebookFailed(f"{why}\nWhat ran until then is in {_short(output)}.") from None
    except CellTimeoutError:
        why = f"a cell of {path.name} took more than {CELL_SECONDS} s and was stopped"
        raise NotebookFailed(f"{why}.\nWhat ran until then is in {_short(output)}.") from None
    except DeadKernelError:
        why = f"the kernel of {path.name} died (out of memory, or killed)"
        raise NotebookFailed(f"{why}.\nWhat ran until then is in {_short(output)}.") from None
    strip_widgets(notebook)
    settle_progress(notebook)
    nbformat.write(notebook, output)
    output.with_suffix(".html").write_text(to_html(notebook, path.stem), encoding="utf-8")
    return notebook


def _check_parameters(path: Path, parameters: Mapping[str, Any]) -> None:
    known = list(papermill.inspect_notebook(str(path)))  # papermill itself only warns
    for name in parameters:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
            hint = f"the nearest it has is {nearest[0]!r} (of {', '.join(known)})" if nearest else "it has none"
            raise ValueError(f"{path.name} has no parameter {name!r}; {hint}.")


def strip_widgets(notebook: Any) -> None:
    """Drop live widget views together with the widgets' state, so that what they left shows: an output's own picture
    or text, or the card after it (saekit_widgets/base.py), which then stands alone."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        for output, following in zip(list(outputs), [*outputs[1:], {}], strict=False):  # after the last there is none
            if WIDGET_VIEW not in output.get("data", {}):
                continue
            if CARD in following.get("data", {}).get("text/html", ""):
                outputs.remove(output)
                continue
            del output["data"][WIDGET_VIEW]
            output.get("metadata", {}).pop(WIDGET_VIEW, None)


def settle_progress(notebook: Any) -> None:
    """Of a line that was written again and again (a progress bar), keep what stood there last, as a terminal does."""
    for cell in notebook.cells:
        joined: list[Any] = []
        for output in cell.get("outputs", []):
            before = joined[-1] if joined else None
            if (
                before is not None
                and output.output_type == before.output_type == "stream"
                and output.name == before.name
            ):
                before.text += output.text  # a long bar may come in several pieces
            else:
                joined.append(output)
        if "outputs" in cell:
            cell.outputs = joined
        for output in joined:
            if output.output_type == "stream":
                lines = [line.rstrip("\r").split("\r")[-1] for line in output.text.split("\n")]
                output.text = "\n".join(lines)
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]


def to_html(notebook: Any, title: str) -> str:
    """The notebook as one HTML page that opens from a file and makes no request. Charts are SVG images with a text
    alternative; equations and mermaid diagrams, whose libraries would have to be fetched, stay as they are written."""
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/svg+xml" in data and "text/html" not in data:
                picture = base64.b64encode(data.pop("image/svg+xml").encode()).decode()
                text = html.escape(data.get("text/plain", "picture").strip("<>"), quote=True)
                data["text/html"] = f'<img alt="{text}" src="data:image/svg+xml;base64,{picture}">'
    addresses = {name: "" for name in HTMLExporter.class_trait_names() if name.endswith("_url")}  # MathJax, mermaid …
    page, _ = HTMLExporter(**addresses).from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return page


def timing_table(notebooks: Mapping[str, Any], slowest: int = 5) -> str:
    """Seconds of each executed notebook beside its budget, and the slowest cells with their first line."""
    lines = ["", f"{'seconds':>9}  {'budget':>6}  notebook"]
    for name, notebook in notebooks.items():
        lines.append(f"{notebook.metadata.papermill.duration:9.1f}  {BUDGETS.get(name, BUDGET):6.0f}  {name}")
    cells = [
        (cell.metadata.papermill.duration or 0.0, f"{name}[{index}]", cell.source)
        for name, notebook in notebooks.items()
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and "papermill" in cell.metadata
    ]
    lines += ["", f"{'seconds':>9}  slowest cells"]
    for seconds, place, source in sorted(cells, key=lambda cell: -cell[0])[:slowest]:
        code = [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        lines.append(f"{seconds:9.1f}  {place}  {code[0][:70] if code else ''}")
    return "\n".join(lines)


def check_seconds(name: str, notebook: Any) -> None:
    """Raise NotebookFailed where an executed notebook took more than SLACK times its budget."""
    seconds, budget = notebook.metadata.papermill.duration, BUDGETS.get(name, BUDGET)
    if seconds > SLACK * budget:
        raise NotebookFailed(
            f"{name} took {seconds:.0f} s; its budget is {budget:.0f} s on a quiet machine, and {SLACK:g} times that "
            "on a busy one."
        )


def summary(notebook: Any) -> dict[str, Any]:
    """What the notebook hands over: the last output of type `application/vnd.saekit.summary+json`."""
    found = [
        output["data"][SUMMARY]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if SUMMARY in output.get("data", {})
    ]
    if not found:
        raise NotebookFailed(f"The notebook ran but no cell gave out its summary ({SUMMARY}).")
    return found[-1]


def demo() -> None:
    """Run 00_start_here and say in five lines what came out."""
    start = time.monotonic()
    print(f"Running {_short(FIRST)} (under three minutes on two cores) …", flush=True)
    notebook = run_notebook(FIRST)
    facts = summary(notebook)
    print(f"\n  explained variance   {facts['explained_variance']:.3f}")
    print(f"  best concept         {facts['best_concept']}, F1 {facts['best_f1']:.2f}")
    print(f"  the notebook, drawn  {_short((BUILD / FIRST.name).with_suffix('.html'))}")
    print(f"  seconds              {time.monotonic() - start:.0f}\n")
    check_seconds(FIRST.name, notebook)


def curriculum(after_demo: bool = False) -> None:
    """Run every notebook (but the demo's, where that was run just now), go on after one that fails, and say at the end
    what took how long."""
    done, failed = {}, []
    paths = [path for path in sorted(HERE.glob("*.ipynb")) if not (after_demo and path.name == FIRST.name)]
    for path in paths:
        print(f"{path.name} …", flush=True)
        try:
            done[path.name] = run_notebook(path)
            check_seconds(path.name, done[path.name])
        except NotebookFailed as error:
            failed.append(str(error))
    print(timing_table(done))
    print(f"\n{len(done)} of {len(paths)} notebooks ran; as HTML in {_short(BUILD)}")
    if failed:
        raise NotebookFailed("\n".join(failed))


def lab(notebook: Path = FIRST) -> None:
    """Open JupyterLab on a notebook at a free port; Ctrl-C ends it and its kernels."""
    port, token = _free_port(), os.environ.get("JUPYTER_TOKEN") or secrets.token_hex(16)
    url = f"http://localhost:{port}/lab/tree/{notebook.relative_to(HERE.parent).as_posix()}?token={token}"
    command, environment = lab_command(port, HERE.parent), lab_environment(token)
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise NotebookFailed(f"JupyterLab did not start (exit code {server.returncode}).")
            time.sleep(0.2)
        print(f"\nJupyterLab: {url}\nCtrl-C ends it.\n", flush=True)
        if _has_display():
            import webbrowser

            webbrowser.open(url)
        server.wait()
    except KeyboardInterrupt:
        print("\nEnding JupyterLab …", flush=True)
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(timeout=20)


def lab_command(port: int, root: Path) -> list[str]:
    """JupyterLab of this Python on the folder `root`, for this machine only; it asks nothing outside."""
    allow = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [
        sys.executable, "-m", "jupyterlab", "--no-browser", *allow, "--ip=127.0.0.1", f"--port={port}",
        f"--ServerApp.root_dir={root}", "--Application.log_level=WARN", "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url=",
        "--KernelManager.transport_encryption=auto",
    ]  # fmt: skip


def lab_environment(token: str) -> dict[str, str]:
    """The environment with the token (not on the command line, where others could read it) and a page configuration
    that leaves the announcements out, so that not even its question about news appears."""
    config = HERE.parent / "build" / "jupyter"
    (config / "labconfig").mkdir(parents=True, exist_ok=True)
    page = config / "labconfig" / "page_config.json"
    page.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}\n')
    before = os.environ.get("JUPYTER_CONFIG_PATH")
    return {
        **os.environ,
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, [str(config), before])),
    }


def _free_port(first: int = 8888) -> int:
    for port in range(first, first + 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NotebookFailed(f"No port from {first} to {first + 199} is free for JupyterLab.")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _value(text: str) -> Any:
    """A parameter as given on the command line: a Python literal where it reads as one, otherwise text."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("demo", "lab"):
        commands.add_parser(name)
    every = commands.add_parser("curriculum")
    every.add_argument("--after-demo", action="store_true", help="leave out the notebook that demo has run")
    one = commands.add_parser("run")
    one.add_argument("notebook", type=Path)
    one.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    one.add_argument("-o", "--output", type=Path)
    given = parser.parse_args(arguments)
    try:
        if given.command == "run":
            notebook = run_notebook(given.notebook, {name: _value(text) for name, text in given.p}, given.output)
            print(timing_table({given.notebook.name: notebook}))
        elif given.command == "curriculum":
            curriculum(given.after_demo)
        else:
            {"demo": demo, "lab": lab}[given.command]()
    except (NotebookFailed, ValueError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
