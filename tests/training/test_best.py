"""The best evaluation of a run, whose checkpoint is kept."""

import numpy as np
import pytest

from edp_jax.training import best
from edp_jax.types import InputError


def test_the_best_evaluation_is_the_one_with_the_highest_mean_of_those_that_are_saved(tmp_path):
    path = tmp_path / "evaluations.csv"
    rows = [  # step, seed, episode, return, length, score
        *("2,0,0,9,5,10.0", "2,1,0,9,5,30.0"),  # mean 20
        *("4,0,0,9,5,90.0", "4,1,0,9,-1,nan"),  # one member has no result
        *("6,0,0,9,5,15.0", "6,1,0,9,5,35.0"),  # mean 25
        *("8,0,0,9,5,25.0", "8,1,0,9,5,25.0"),  # the first of two alike
    ]
    path.write_text("\n".join(["step,seed,episode,return,length,score", *rows, ""]))
    assert best.find_best(str(path), [2, 4, 6, 8]) == (6, 2, 25.0)
    assert best.find_best(str(path), [2, 4]) == (2, 2, 20.0)
    assert best.find_best(str(path), []) == best.Best() == (None, 0, -np.inf)
    assert best.find_best(str(tmp_path / "none.csv"), [2]).step is None
    assert best.find_best(str(path), [4]) == (4, 1, 90.0)


def test_an_evaluation_without_any_result_is_never_the_best():
    values, lengths = np.full((2, 1), np.nan), np.full((2, 1), -1)
    assert best.Best().better(3, values, lengths).step is None
    assert best.Best(2, 1, 5.0).better(3, values, lengths).step == 2


def test_another_table_is_refused_in_one_line(tmp_path):
    (tmp_path / "evaluations.csv").write_text("step,seed,episode,return,length\n2,0,0,9,5\n")
    with pytest.raises(InputError, match="is not as a run writes it .'score'.; move it away"):
        best.find_best(str(tmp_path / "evaluations.csv"), [2])
