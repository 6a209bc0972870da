"""notebooks/run.py: parameters, failing cells, HTML without requests, the kernel it picks, the timing table."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "notebooks" / "run.py"
SUMMARY = """
from IPython.display import display
facts = {"explained_variance": 0.81234, "best_concept": "entity.person", "best_f1": 0.9}
display({"application/vnd.saekit.summary+json": facts, "text/plain": "summary"}, raw=True)
"""


def texts(notebook) -> str:
    return "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))


def test_parameters_reach_the_notebook(run, write_notebook, tmp_path) -> None:
    path = write_notebook("print(tokens * 2, device)", parameters="tokens = 1\ndevice = 'cpu'")
    notebook = run.run_notebook(path, {"tokens": 21}, tmp_path / "out" / "done.ipynb")
    assert texts(notebook) == "42 cpu\n"
    assert texts(nbformat.read(tmp_path / "out" / "done.ipynb", 4)) == "42 cpu\n"
    assert (tmp_path / "out" / "done.html").is_file()


def test_an_unknown_parameter_fails_before_anything_runs(run, write_notebook, tmp_path) -> None:
    path = write_notebook("print(1)", parameters="tokens = 1\ndevice = 'cpu'")
    with pytest.raises(ValueError, match="no parameter 'devcie'; the nearest it has is 'device'"):
        run.run_notebook(path, {"devcie": "cuda"}, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()
    with pytest.raises(ValueError, match="no parameter 'x'; it has none"):
        run.run_notebook(write_notebook("print(1)", name="none.ipynb"), {"x": 1}, tmp_path / "out.ipynb")


def test_bad_paths(run, write_notebook, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no notebook"):
        run.run_notebook(tmp_path / "absent.ipynb")
    path = write_notebook("print(1)")
    with pytest.raises(ValueError, match="would replace the notebook itself"):
        run.run_notebook(path, output=path)


def test_a_failing_cell_is_said_in_short_and_the_rest_is_kept(run, write_notebook, tmp_path, capsys) -> None:
    path = write_notebook("print('before')", "raise RuntimeError('the reason')", "print('after')")
    code = run.main(["run", str(path), "-o", str(tmp_path / "partial.ipynb")])
    said = capsys.readouterr().err
    assert code == 1
    assert "cell 1 of small.ipynb failed: RuntimeError: the reason" in said and "partial.ipynb" in said
    assert "Traceback" not in said
    kept = texts(nbformat.read(tmp_path / "partial.ipynb", 4))
    assert "before" in kept and "after" not in kept


def test_html_opens_from_a_file_without_a_request(run, write_notebook, tmp_path, browser) -> None:
    widget = (
        "import ipywidgets\nfrom IPython.display import display\n"
        "bundle = ipywidgets.IntSlider()._repr_mimebundle_()\n"
        "display({**bundle, 'text/html': '<b id=own>own picture</b>'}, raw=True)"
    )
    path = write_notebook(
        "# Title with $a^2$ and a diagram\n\n```mermaid\ngraph LR; a-->b\n```",
        "import saekit.plots\nsaekit.plots.density_histogram([0.1, 0.02, 0.0])",
        "import saekit.plots\nsaekit.plots.tokens_view(['<script>alert(1)</script>'], [1.0])",
        widget,
        "import saekit_widgets\nsaekit_widgets.TrainingMonitor()",
    )
    notebook = run.run_notebook(path, output=tmp_path / "page.ipynb")
    assert "widgets" not in notebook.metadata and "widget-view" not in (tmp_path / "page.ipynb").read_text()
    page = browser.new_page()
    requests, problems = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: problems.append("a dialog opened: text from a token ran as a script"))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_timeout(500)
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert [said for said in problems if "module specifier ''" not in said] == []  # mermaid has no address here
    chart = page.locator("img[src^='data:image/svg+xml']")
    assert chart.get_attribute("alt") == "chart: How often the latents fire"
    assert chart.evaluate("image => image.complete && image.naturalWidth > 300")
    assert page.locator(".jp-Mermaid").inner_text().strip() == "graph LR; a-->b"
    assert page.locator("#own").inner_text() == "own picture"
    assert [sorted(output["data"]) for output in notebook.cells[4].outputs] == [["text/html"]]
    assert "0 of 0 tokens" in page.locator("[data-saekit-saved]").inner_text()  # the card stands alone
    assert page.get_by_text("<TrainingMonitor").count() == 0
    assert page.locator(".saekit-tokens .k").inner_text() == "<script>alert(1)</script>"
    page.close()


def test_demo_prints_the_summary(run, write_notebook, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(run, "FIRST", write_notebook(SUMMARY, name="00_start_here.ipynb"))
    monkeypatch.setattr(run, "BUILD", tmp_path / "build")
    assert run.main(["demo"]) == 0
    said = capsys.readouterr().out
    for line in [
        "explained variance   0.812",
        "best concept         entity.person, F1 0.90",
        "00_start_here.html",
        "seconds",
    ]:
        assert line in said
    monkeypatch.setattr(run, "FIRST", write_notebook("print(1)", name="00_start_here.ipynb"))
    assert run.main(["demo"]) == 1
    assert "no cell gave out its summary" in capsys.readouterr().err


@pytest.mark.timing
def test_curriculum_goes_on_after_a_failure_and_times_every_notebook(
    run, write_notebook, tmp_path, monkeypatch, capsys
):
    write_notebook("import time; time.sleep(1.2)", "print(1)", name="01_slow.ipynb")
    write_notebook("1 / 0", name="02_wrong.ipynb")
    write_notebook("print(3)", name="03_quick.ipynb")
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "BUILD", tmp_path / "build")
    assert run.main(["curriculum"]) == 1
    said = capsys.readouterr()
    assert "cell 0 of 02_wrong.ipynb failed: ZeroDivisionError" in said.err
    assert "2 of 3 notebooks ran" in said.out
    slowest = said.out.split("slowest cells\n")[1].splitlines()[0].split()
    assert 1.2 <= float(slowest[0]) < 3 and slowest[1:] == ["01_slow.ipynb[0]", "import", "time;", "time.sleep(1.2)"]
    assert (tmp_path / "build" / "03_quick.html").is_file()


def test_a_notebook_that_takes_thrice_its_budget_fails_the_run(run, tmp_path, monkeypatch, capsys) -> None:
    """The demo's has 120 s, the others have 75; where the demo was run just now, the curriculum leaves it out."""
    seconds = {"00_start_here.ipynb": 361.0, "01_quick.ipynb": 225.0}
    for name in seconds:
        (tmp_path / name).touch()
    facts = {"explained_variance": 0.8, "best_concept": "entity.person", "best_f1": 0.9}
    output = nbformat.v4.new_output("display_data", {run.SUMMARY: facts})

    def executed(path: Path) -> nbformat.NotebookNode:
        cells = [nbformat.v4.new_code_cell(outputs=[output])]
        return nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"duration": seconds[path.name]}})

    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "run_notebook", executed)
    late = "00_start_here.ipynb took 361 s; its budget is 120 s on a quiet machine, and 3 times that on a busy one."
    assert run.main(["demo"]) == 1 and late in capsys.readouterr().err
    assert run.main(["curriculum", "--after-demo"]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 notebooks ran" in said and "    225.0      75  01_quick.ipynb" in said and "00_start" not in said
    assert run.main(["curriculum"]) == 1 and late in capsys.readouterr().err
    seconds["00_start_here.ipynb"] = 360.0
    assert run.main(["demo"]) == 0 and run.main(["curriculum"]) == 0


@pytest.mark.parametrize("home", ["empty", "foreign kernel"])
def test_the_kernel_is_this_pythons_own(home, write_notebook, tmp_path) -> None:
    path = write_notebook("import sys; print(sys.prefix)")
    user = tmp_path / "home"
    kernels = user / ".local" / "share" / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "XDG_", "IPYTHON"))}
    environment["HOME"] = str(user)
    if home == "foreign kernel":
        foreign = {
            "argv": ["/nowhere/bin/python", "{connection_file}"],
            "display_name": "foreign",
            "language": "python",
        }
        (kernels / "kernel.json").write_text(json.dumps(foreign))
        environment["JUPYTER_PATH"] = str(kernels.parents[1])
        environment["JUPYTER_PREFER_ENV_PATH"] = "0"
    out = tmp_path / "out.ipynb"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "run", str(path), "-o", str(out)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert texts(nbformat.read(out, 4)).strip() == sys.prefix


def test_ctrl_c_stops_the_kernel_too(write_notebook, tmp_path) -> None:
    mark = tmp_path / "pid"
    path = write_notebook(f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(300)")
    command = [sys.executable, str(SCRIPT), "run", str(path), "-o", str(tmp_path / "out.ipynb")]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    _wait(lambda: mark.exists() and mark.read_text(), 60)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    _wait(lambda: not _alive(int(mark.read_text())), 20)


def test_lab_copes_with_a_taken_port_and_ends_at_ctrl_c(run, tmp_path) -> None:
    taken = socket.socket()
    taken.bind(("127.0.0.1", run._free_port()))
    taken.listen()
    try:
        environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "lab"],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        lines = iter(process.stdout.readline, "")
        url = next(line for line in lines if "http" in line).split()[-1]
        assert "/lab/tree/notebooks/00_start_here.ipynb?token=" in url
        assert f":{taken.getsockname()[1]}/" not in url
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
        port = int(url.split(":")[2].split("/")[0])
        assert not run._answers(port)
    finally:
        taken.close()
        if process.poll() is None:
            process.terminate()


def test_values_on_the_command_line(run) -> None:
    given = ["1", "0.5", "true", "None", "[1, 2]", "cpu", "1e6", "blocks.2.hook_resid_post"]
    assert [run._value(text) for text in given] == [1, 0.5, True, None, [1, 2], "cpu", 1e6, "blocks.2.hook_resid_post"]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def test_a_progress_bar_leaves_its_last_state_only(run, write_notebook, tmp_path) -> None:
    moving = "import sys\nfor n in range(3): print(f'\\r{n} of 3', end='')\nprint('\\r3 of 3')\nprint('done')"
    gone = "print('\\r50 %', end='')\nprint('\\r     ', end='\\r')"
    notebook = run.run_notebook(write_notebook(moving, gone), output=tmp_path / "done.ipynb")
    assert texts(notebook) == "3 of 3\ndone\n"
    assert notebook.cells[1].outputs == []


@pytest.mark.parametrize("path", sorted(SCRIPT.parent.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_imports_saekit_first(path: Path) -> None:
    """Before torch, which reads how its threads are to wait when it is loaded; and none sets their number."""
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    imports = [line for source in cells for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert imports[0].split()[1].startswith("saekit")
    assert not any("set_num_threads" in source for source in cells)


def test_kernels_are_told_how_threads_wait(run, write_notebook, tmp_path) -> None:
    """Also one that imports torch first."""
    path = write_notebook(
        "import torch, os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    )
    there = texts(run.run_notebook(path, output=tmp_path / "out.ipynb")).split()
    assert there == [os.environ.get("GOMP_SPINCOUNT", "None"), os.environ.get("OMP_WAIT_POLICY", "None")]
    assert there != ["None", "None"]
    lab = run.lab_environment("t")
    assert "GOMP_SPINCOUNT" in lab or "OMP_WAIT_POLICY" in lab
