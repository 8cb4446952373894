"""A report as Markdown, with figures beside it as files."""

from collections.abc import Mapping, Sequence

from edp_jax.reports.figures import Picture
from edp_jax.reports.tables import Table, as_markdown, plain_markdown


def page(
    summary: str,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    captions: Mapping[str, str],
) -> str:
    """Returns the text of report.md.

    Args:
      summary: a paragraph to begin with.
      tables: in their order.
      pictures: in their order; their PNG files lie in figures/.
      captions: what is behind each picture, by its name.
    """
    parts = ["# Report", summary]
    for table in tables:
        parts += [f"## {table.title}", table.note]
        parts.append(as_markdown(table) if table.rows else "None.")
    parts.append("## Figures")
    for picture in pictures:
        title = plain_markdown(picture.title)
        parts += [f"### {title}", f"![{title}](figures/{picture.name}.png)"]
        parts.append(f"{picture.caption} {captions[picture.name]}")
    return "\n\n".join(parts) + "\n"
