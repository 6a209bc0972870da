"""Explanations of latents: write one or have some proposed, and score them on windows that were not used to write them.

Offline an explanation is a predicate; free text needs a chat model (`ChatJudge`, `LocalJudge`).
"""
