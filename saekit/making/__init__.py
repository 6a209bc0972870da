"""How what ships was made: the embedded model with its card, and its dictionaries. Nothing else imports this."""

from __future__ import annotations
