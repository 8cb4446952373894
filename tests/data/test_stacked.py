"""Arrays of several episodes, read as one table."""

import numpy as np
import pytest

from edp_jax.data.stacked import Stacked, check_lengths
from edp_jax.types import InputError

LENGTHS = (3, 1, 4)


def episodes() -> list[dict[str, np.ndarray]]:
    """Two columns of float64, then one of int32, in each."""
    rng = np.random.default_rng(0)
    return [
        {f"a{index}": rng.normal(size=(steps, 2)), f"b{index}": np.arange(steps, dtype=np.int32)}
        for index, steps in enumerate(LENGTHS)
    ]


def test_any_rows_are_those_of_all_episodes_put_together():
    content = episodes()
    table = Stacked("file", content)
    whole = np.concatenate([np.column_stack(list(episode.values())) for episode in content])
    assert table.shape == (8, 3) and len(table) == 8 and table.dtype == np.float64
    for start in range(8):
        for stop in range(start + 1, 9):
            np.testing.assert_array_equal(table[start:stop], whole[start:stop])
    np.testing.assert_array_equal(np.flatnonzero(table.last), [2, 3, 7])
    np.testing.assert_array_equal(table.lengths, LENGTHS)
    assert table.columns == ("a0_0", "a0_1", "b0")


def test_a_column_and_several():
    content = episodes()
    numbers = Stacked("file", [{"b": episode[f"b{i}"]} for i, episode in enumerate(content)])
    np.testing.assert_array_equal(numbers.column(), [0, 1, 2, 0, 0, 1, 2, 3])
    with pytest.raises(InputError, match="'a0' has 3 columns; store one number per step"):
        Stacked("file", content).column()


def test_lengths_are_compared_episode_by_episode():
    tables = [
        Stacked("file", [{f"{key}{i}": np.zeros(n)} for i, n in enumerate(lengths)])
        for key, lengths in (("a", (3, 5)), ("b", (3, 5)), ("c", (4, 4)))
    ]
    check_lengths(*tables[:2])
    with pytest.raises(InputError, match="'c0' has 4 rows and 'a0' has 3"):
        check_lengths(*tables)  # eight rows in all of them
