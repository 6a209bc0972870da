"""An exported page, read back: for tests of what it holds."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from typing import Any


def unpacked(page: str) -> dict[str, Any]:
    """What an exported page holds: bundle, state, refusals, and answers by key: (content, buffers)."""
    (text,) = re.findall(r'<script type="text/plain" id="data">([^<]*)</script>', page)
    head, _, rest = gzip.decompress(base64.b64decode(text)).partition(b"\n")
    data, stream = json.loads(head), io.BytesIO(rest)
    data["bundle"] = stream.read(data["bundle"])
    data["answers"] = {
        key: (json.loads(stream.read(length)), [stream.read(each) for each in lengths])
        for key, length, lengths in data["answers"]
    }
    assert not stream.read()
    return data
