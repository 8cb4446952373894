"""A report as one HTML file that needs nothing else: no network, no other file."""

import html
from collections.abc import Mapping, Sequence

from edp_jax.reports.figures import Picture
from edp_jax.reports.looks import FAINT, INK
from edp_jax.reports.tables import Table, as_html

_STYLE = """
:root { --paper: #ffffff; --ink: #30363d; --faint: #d0d7de; --shade: #f3f5f7; --link: #1f5fa8;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --ink: #d7dce2; --faint: #3a424b; --shade: #1d2228; --link: #7fb2ee; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; list-style: none; padding: 0; }
p { max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
th, td { border-bottom: 1px solid var(--faint); padding: 0.25rem 0.6rem; text-align: left;
  vertical-align: top; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 26rem; overflow-wrap: break-word; }
th { background: var(--shade); }
td.number { text-align: right; }
th.number { text-align: right; }
tbody tr:hover { background: var(--shade); }
th button { all: unset; cursor: pointer; font-weight: 600; white-space: nowrap; }
th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
figure { margin: 1.5rem 0; }
figure svg { display: block; width: 100%; max-width: 60rem; height: auto; }
figcaption { font-size: 13px; max-width: 60rem; }
"""

# Sorts a table by the column whose head is pressed; a second press turns the order around. Cells
# without a number come last.
_SCRIPT = """
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending", sign = down ? -1 : 1;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = head.classList.contains("number");
    const value = (row) => {
      const cell = row.cells[head.cellIndex];
      return numeric ? parseFloat(cell.dataset.value) : cell.textContent;
    };
    const compare = (a, b) => {
      const x = value(a), y = value(b);
      if (!numeric) return sign * x.localeCompare(y, "en", {numeric: true});
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return sign * (x - y);
    };
    body.append(...[...body.rows].sort(compare));
  });
}
"""


def page(
    summary: str,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    captions: Mapping[str, str],
    drawings: Mapping[str, str],
) -> str:
    """Returns the text of report.html.

    Args:
      summary: a paragraph to begin with.
      tables: in their order.
      pictures: in their order.
      captions: what is behind each picture, by its name.
      drawings: the SVG element of each picture, by its name.
    """
    links = [(table.name, table.title) for table in tables] + [("figures", "Figures")]
    items = "".join(f'<li><a href="#{name}">{html.escape(title)}</a></li>' for name, title in links)
    body = ["<h1>Report</h1>", _paragraph(summary), f"<nav><ul>{items}</ul></nav>"]
    for table in tables:
        body.append(f'<h2 id="{table.name}">{html.escape(table.title)}</h2>')
        body.append(_paragraph(table.note))
        shown = f'<div class="scroll">{as_html(table)}</div>' if table.rows else "<p>None.</p>"
        body.append(shown)
    body.append('<h2 id="figures">Figures</h2>')
    for picture in pictures:
        caption = html.escape(f"{picture.caption} {captions[picture.name]}")
        body.append(f"<h3>{html.escape(picture.title)}</h3>")
        body.append(f"<figure>{drawings[picture.name]}<figcaption>{caption}</figcaption></figure>")
    content = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n<title>Report</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{content}\n"
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def themed(svg: str) -> str:
    """Lets text and grid of a figure follow the page, which may be light or dark.

    Args:
      svg: an element drawn with the colours `INK` and `FAINT`.
    """
    return svg.replace(INK, f"var(--ink, {INK})").replace(FAINT, f"var(--faint, {FAINT})")


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
