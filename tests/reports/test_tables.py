"""How the cells of a table are written."""

import numpy as np

from edp_jax.reports import tables


def test_counts_are_written_as_integers():
    """Numbers that were measured keep their point, also where they are whole."""
    columns = (tables.number("updates", 0), tables.span("evaluations"), tables.number("score"))
    rows = [(np.int64(5), (3, 12), 5.0), (1_000_000, (4, 4), None), (0, (None, None), np.nan)]
    table = tables.Table("name", "title", "note", columns, rows)
    assert tables.as_csv(table).splitlines() == [
        "updates,evaluations least,evaluations most,score",
        "5,3,12,5.0",
        "1000000,4,4,",
        "0,,,",
    ]
    shown = [line.split(" | ") for line in tables.as_markdown(table).splitlines()[2:]]
    assert shown == [["| 5", "3 to 12", "5.0 |"], ["| 1,000,000", "4", "– |"], ["| 0", "–", "– |"]]


def test_only_long_text_has_several_lines():
    """The name of a folder has none, however long it is: it would break after its hyphens."""
    folder, reason = "runs/" + "edp-td3-" * 20, "evaluation failed: " + "no simulator " * 10
    table = tables.Table("", "", "", (tables.words("cell"),), [("short",), (folder,), (reason,)])
    cells = [line for line in tables.as_html(table).splitlines() if "<td" in line]
    assert [' class="long"' in cell for cell in cells] == [False, False, True]
