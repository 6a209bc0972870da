"""html_table: escaping, alignment, numbers as a person reads them."""

from __future__ import annotations

from saekit.plots import html_table


def test_escapes_everything_and_aligns_numbers() -> None:
    html = html_table(
        [{"na<me": "<b>ev</b>", "value": 0.81234}, {"na<me": "n", "value": "not measured"}],
        caption="<i>c</i>",
        header="a & b",
    )
    assert "<b>" not in html and "<i>" not in html
    assert "<th>na&lt;me</th><th class='n'>value</th>" in html
    assert "<td>&lt;b&gt;ev&lt;/b&gt;</td><td class='n'>0.8123</td>" in html
    assert "<td>not measured</td>" in html
    assert "a &amp; b" in html and "<caption>&lt;i&gt;c&lt;/i&gt;</caption>" in html


def test_what_is_folded_stands_below_and_is_escaped() -> None:
    html = html_table([{"a": "x"}], folded=("<b>how</b>", "seed: <i>0</i>"))
    assert "<summary>&lt;b&gt;how&lt;/b&gt;</summary><p>seed: &lt;i&gt;0&lt;/i&gt;</p></details>" in html
    assert html.index("</table>") < html.index("<details>") and "<details>" not in html_table([{"a": "x"}])


def test_numbers() -> None:
    cells = [16, 16384, -12345.5, 0.00012345, 1.0, -0.5, None, True, float("nan")]
    html = html_table([{"v": cell} for cell in cells])
    for text in ["16", "16,384", "−12,346", "0.0001234", "1", "−0.5", "–", "True", "nan"]:
        assert f">{text}</td>" in html


def test_missing_cells_and_no_rows() -> None:
    assert "<td>1</td>" not in html_table([{"a": "x"}, {"b": 1}])
    assert html_table([{"a": "x"}, {"b": 1}]).count("<td>–</td>") == 2
    assert "<tbody></tbody>" in html_table([])
