"""The wheel, built from the source archive, is whole: three packages, their data, a model that loads from there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = {"saekit": ROOT, "saekit_kernels": ROOT / "kernels", "saekit_widgets": ROOT / "widgets"}
SHIPPED = "blocks.2.hook_resid_post"  # the dictionary that comes with the embedded model


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source archive first, then the wheel from that archive, so that both are known to be complete."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.glob("saekit-*.tar.gz"))) == 1
    (built,) = folder.glob("saekit-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel alone in a folder; what it needs comes from the running environment."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True)
    return target


def run_installed(installed: Path, cwd: Path, code: str) -> str:
    """Run code that sees the installed wheel before this checkout's editable install, from another folder."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sources() -> set[str]:
    """Every file of the three packages as git has it, named as in a wheel."""
    found = set()
    for package, base in PACKAGES.items():
        command = ["git", "-C", str(base), "ls-files", "--cached", "--others", "--exclude-standard", "-z", package]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"git does not list this tree's files: {done.stderr.strip()}")
        found |= {name for name in done.stdout.split("\0") if name and (base / name).is_file()}
    assert any(name.startswith("saekit/") for name in found)
    return found


def test_the_wheel_holds_every_file_and_no_other(wheel: Path) -> None:
    """Weights, corpora, static JavaScript and style sheets are files like any other: all of them, nothing else."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == sources()


def test_the_wheel_carries_its_licence_and_names(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    text = archive.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text and "Requires-Python: <3.14,>=3.11" in text
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_three_packages_import_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    present = [package for package, base in PACKAGES.items() if (base / package / "__init__.py").exists()]
    assert "saekit" in present
    code = f"import {', '.join(present)}\nfor module in ({', '.join(present)},): print(module.__file__)"
    for line in run_installed(installed, tmp_path, code).split():
        assert Path(line).is_relative_to(installed), line


def test_the_embedded_model_and_its_dictionary_load_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    if not any((ROOT / "saekit" / "models" / "micro").glob("*.safetensors")):
        pytest.skip("the embedded model's weights are not there yet")
    code = (
        "import saekit as sk\n"
        "model = sk.load_model('micro')\n"
        f"sae = sk.load_dictionary('micro/{SHIPPED}')\n"
        "document = next(iter(sk.load_corpus('microworld', split='heldout')))\n"
        "print(sk.__file__, model.cfg.n_layers, sae.d_sae, len(document.text) > 0)"
    )
    where, layers, width, text = run_installed(installed, tmp_path, code).split()[-4:]
    assert Path(where).is_relative_to(installed)
    assert int(layers) > 0 and int(width) > 0 and text == "True"
