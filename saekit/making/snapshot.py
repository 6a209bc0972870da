"""Make the frozen snapshot: `python -m saekit.making.snapshot LIB`, LIB being the
`lib/python3.11` of CPython 3.11.7.

Run once. It is kept so that anybody can see what stands in the file; the same LIB gives the same bytes."""

from __future__ import annotations

import json
import lzma
import shutil
import sys
from pathlib import Path

from saekit.corpora.python_library.sources import collect

FOLDER = Path(__file__).parents[1] / "corpora" / "python_library"


def main() -> None:
    """The command line."""
    library = Path(sys.argv[1])
    modules = collect(library)
    lines = "".join(json.dumps({"module": name, "source": source}) + "\n" for name, source in modules)
    packed = lzma.compress(
        lines.encode("ascii"), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=9 | lzma.PRESET_EXTREME
    )
    (FOLDER / "library.jsonl.xz").write_bytes(packed)
    shutil.copyfile(library / "LICENSE.txt", FOLDER / "LICENSE.txt")
    print(f"{len(modules)} modules, {len(lines):,} characters, {len(packed):,} bytes packed")


if __name__ == "__main__":
    main()
