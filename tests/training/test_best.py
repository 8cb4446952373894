"""The best evaluation of a run, whose checkpoint is kept."""

import numpy as np

from edp_jax.training import best


def test_the_best_evaluation_is_the_one_with_the_highest_mean_of_those_that_are_saved(tmp_path):
    path = tmp_path / "evaluations.csv"
    rows = [  # step, seed, episode, return, length, score
        *("2,0,0,9,5,10.0", "2,1,0,9,5,30.0"),  # mean 20
        *("4,0,0,9,5,90.0", "4,1,0,9,5,nan"),  # NaN is never the best
        *("6,0,0,9,5,25.0", "6,1,0,9,-1,nan"),  # the second does not count: mean 25
        *("8,0,0,9,5,25.0", "8,1,0,9,5,25.0"),  # the first of two alike
    ]
    path.write_text("\n".join(["step,seed,episode,return,length,score", *rows, ""]))
    assert best.find_best(str(path), [2, 4, 6, 8]) == (6, 25.0)
    assert best.find_best(str(path), [2, 4]) == (2, 20.0)
    assert best.find_best(str(path), []) == best.Best() == (None, -np.inf)
    assert best.find_best(str(tmp_path / "none.csv"), [2]).step is None
    better = best.Best(2, 20.0).better(3, np.array([[30.0, 20.0]]), np.array([[5, 5]]))
    assert better == (3, 25.0)
