"""A small safe HTML table, for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from numbers import Real

STYLE = """<style>
.saekit-table{color:var(--jp-content-font-color1,#1f1f1f);background:var(--jp-layout-color0,#fff);
font:12px/16px var(--jp-ui-font-family,system-ui,sans-serif);font-variant-numeric:tabular-nums;
max-width:100%;overflow-x:auto}
.saekit-table p{margin:0 0 6px;color:color-mix(in srgb,currentColor 70%,transparent);font-size:11px;
white-space:pre-wrap}
.saekit-table table{border-collapse:collapse;margin:0;font-size:12px;border:0}
.saekit-table caption{caption-side:top;text-align:left;font-size:13px;font-weight:600;padding:0 0 4px;color:inherit}
.saekit-table.saekit-table th,.saekit-table.saekit-table td{padding:3px 16px 3px 0;text-align:left;vertical-align:top;
max-width:52em;white-space:normal;background:none;border:0}
.saekit-table tr{background:none!important;border-bottom:1px solid color-mix(in srgb,currentColor 14%,transparent)}
.saekit-table.saekit-table th{font-weight:400;font-size:11px;color:color-mix(in srgb,currentColor 70%,transparent)}
.saekit-table.saekit-table .n{text-align:right;white-space:nowrap}
.saekit-table summary{font-size:11px;margin:6px 0 4px;cursor:pointer;width:max-content}
</style>"""


def html_table(
    rows: Sequence[Mapping[str, object]], *, caption: str = "", header: str = "", folded: tuple[str, str] = ("", "")
) -> str:
    """Rows as an HTML table; every text escaped, numbers right aligned with digits of equal width.

    rows:    a mapping a row, from column to value; the columns are those of all rows, in order of appearance.
    caption: what the table is, above it.
    header:  small print above the caption (newlines are kept).
    folded:  what stands below, folded, under its title: such as what reproduces the numbers.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))

    def cell(tag: str, text: str, number: bool) -> str:
        return f"<{tag} class='n'>{escape(text)}</{tag}>" if number else f"<{tag}>{escape(text)}</{tag}>"

    first = {column: next((row[column] for row in rows if row.get(column) is not None), None) for column in columns}
    head = "".join(cell("th", str(column), is_number(first[column])) for column in columns)
    body = "".join(
        "<tr>"
        + "".join(cell("td", spoken(row.get(column)), is_number(row.get(column))) for column in columns)
        + "</tr>"
        for row in rows
    )
    return (
        f'{STYLE}<div class="saekit-table">'
        + (f"<p>{escape(header)}</p>" if header else "")
        + "<table>"
        + (f"<caption>{escape(caption)}</caption>" if caption else "")
        + f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + (f"<details><summary>{escape(folded[0])}</summary><p>{escape(folded[1])}</p></details>" if folded[1] else "")
        + "</div>"
    )


def is_number(value: object) -> bool:
    """A real number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def spoken(value: object) -> str:
    """A value as a person reads it: thousands separated, four significant digits, a true minus sign."""
    if value is None:
        return "–"
    if not is_number(value):
        return str(value)
    number = float(value)  # type: ignore[arg-type]
    whole = number.is_integer() or abs(number) >= 1000
    text = f"{number:,.0f}" if whole and abs(number) < 1e15 else f"{number:.4g}"
    return text.replace("-", "−") if "e" not in text else text
