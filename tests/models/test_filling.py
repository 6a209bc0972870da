"""passes and even_width, by hand."""

from __future__ import annotations

from saekit.models.filling import even_width, passes


def test_rows_of_like_length_fill_passes():
    assert passes([3, 5, 4], positions=15) == [[0, 1, 2]], "one pass holds them all: they stay in order"
    assert passes([3, 5, 4, 9], positions=12) == [[3], [1, 2], [0]]
    assert passes([3, 5, 4], positions=100, rows=2) == [[1, 2], [0]]
    assert passes([50], positions=12) == [[0]] and passes([]) == []
    many = passes([7] * 100, positions=7 * 37)
    assert [len(some) for some in many] == [32, 32, 36] and sorted(row for some in many for row in some) == list(
        range(100)
    )


def test_places_are_a_multiple_of_sixteen():
    assert even_width(16, 7, 256) == 7 and even_width(8, 7, 256) == 8 and even_width(1, 7, 256) == 16
    assert even_width(6, 9, 256) == 16 and even_width(12, 9, 256) == 12
    assert even_width(1, 250, 255) == 250, "not above the context"
