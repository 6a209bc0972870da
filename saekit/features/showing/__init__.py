"""Features as pictures, pages and files of others."""

from __future__ import annotations
