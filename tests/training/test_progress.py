"""What is told while a run trains."""

import numpy as np
import pytest

from edp_jax.training import progress
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.members import grid


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (41.6, "42 s"),
        (59.9, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7380, "2 h 03 min"),
        (float("inf"), "? s"),
    ],
)
def test_progress_line(seconds, text):
    line = progress.progress_line(42_000, 100_000, 1312.44, seconds, "score 87.2")
    assert line == (
        f" 42.0 % | 42,000 / 100,000 updates | 1,312.4 updates/s | {text} left | score 87.2"
    )


def test_progress_line_before_the_first_evaluation_says_nothing_of_it():
    assert progress.progress_line(1, 4, 2.0, 1.5).endswith("2 s left")


def evaluation(means, scored=True) -> Evaluation:
    """Two episodes of each member, around its mean."""
    values = np.array(means)[:, None] + [-1.0, 1.0]
    return Evaluation(values / 2, np.ones(values.shape, int), values if scored else None)


@pytest.mark.parametrize(
    ("sweep", "means", "scored", "text"),
    [
        ({}, [10.0, 20.0], True, "score 15.0"),
        ({}, [-3130.0, -3150.0], False, "return -1570.0"),
        # means of the points: 15, 35, and one that cannot act
        (
            {"eta": (0.5, 2.0, 9.0)},
            [10.0, 20, 30, 40, np.nan, 99],
            True,
            "best score 35.0 at eta 2.0",
        ),
    ],
)
def test_an_evaluation_in_a_few_words(sweep, means, scored, text):
    assert progress.headline(grid((0, 1), sweep), evaluation(means, scored)) == text


@pytest.mark.parametrize(
    ("members", "num_updates", "text"),
    [
        # 2,000,000 / 36.6 per second are 54,645 s
        (grid(range(5)), 2_000_000, "5 seeds x 2,000,000 updates: about 15 h 10 min here"),
        (
            grid((0,), {"eta": (1.0, 2.0)}),
            36_600,
            "1 seed x 2 points of the sweep x 36,600 updates: about 16 min 40 s here",
        ),
        (grid((0,)), 21_960, None),  # ten minutes
    ],
)
def test_a_long_run_is_announced(members, num_updates, text):
    line = progress.estimate(members, num_updates, 36.6)
    rest = ", evaluations aside; --config.num_steps=... makes it shorter"
    assert line == (None if text is None else text + rest)


def test_a_chunk_that_compiles_does_not_count(capsys):
    shown = progress.Progress(grid((0,)), 0, 100_000)
    shown.chunk_done(1000, 50.0, compiled=True)
    assert shown.updates_per_second is None and capsys.readouterr().out == ""
    shown.show(None, always=True)
    line = "  1.0 % | 1,000 / 100,000 updates | compiled | ? s left\n"
    assert capsys.readouterr().out == line
    shown.chunk_done(1000, 10.0, compiled=False)  # 100 per second: 1000 s
    assert "about 16 min 40 s here" in capsys.readouterr().out
    shown.chunk_done(1000, 30.0, compiled=False)
    assert shown.updates_per_second == 2000 / 40 and capsys.readouterr().out == ""
    shown.show("score 1.0", always=True)
    line = capsys.readouterr().out
    assert line.startswith("  3.0 % | 3,000 / 100,000 updates | 33.3 updates/s | ")
    assert line.endswith("left | score 1.0\n")
    shown.chunk_done(1000, 90.0, compiled=True)  # as the online phase does once more
    assert shown.updates_per_second == 2000 / 40
    shown.show(None, always=True)
    assert capsys.readouterr().out == "  4.0 % | 4,000 / 100,000 updates | compiled | ? s left\n"
