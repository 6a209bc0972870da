"""Make the frozen snapshot: `python -m saekit.corpora.python_library.make_snapshot LIB`, LIB being the
`lib/python3.11` of CPython 3.11.7.

Run once. It is kept so that anybody can see what stands in the file; the same LIB gives the same bytes."""

from __future__ import annotations

import ast
import json
import lzma
import shutil
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
SKIPPED_FOLDERS = {
    "test",
    "tests",
    "idle_test",
    "ensurepip",
    "site-packages",
    "dist-packages",
    "lib-dynload",
    "__pycache__",
}
SMALLEST = 500  # characters; what is shorter is mostly an import and a warning


def collect(library: Path) -> list[tuple[str, str]]:
    """(dotted module name, source) of every module of the library, sorted by name, without tests and generated
    files."""
    found = []
    for path in library.rglob("*.py"):
        parts = path.relative_to(library).parts
        generated = parts[0].startswith(("_sysconfigdata", "config-"))
        if generated or SKIPPED_FOLDERS & set(parts):
            continue
        source = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        if len(source) <= SMALLEST:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
        found.append((".".join(parts)[: -len(".py")].removesuffix(".__init__"), source))
    return sorted(found)


def main() -> None:
    library = Path(sys.argv[1])
    modules = collect(library)
    lines = "".join(json.dumps({"module": name, "source": source}) + "\n" for name, source in modules)
    packed = lzma.compress(
        lines.encode("ascii"), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=9 | lzma.PRESET_EXTREME
    )
    (HERE / "library.jsonl.xz").write_bytes(packed)
    shutil.copyfile(library / "LICENSE.txt", HERE / "LICENSE.txt")
    print(f"{len(modules)} modules, {len(lines):,} characters, {len(packed):,} bytes packed")


if __name__ == "__main__":
    main()
