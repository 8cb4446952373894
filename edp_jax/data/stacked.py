"""Arrays of many episodes as one, without copying them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax.types import InputError


class Stacked:
    """A table [N, D] whose rows come from many episodes and whose columns from several arrays.

    It has what `edp_jax.data.storage` asks of an array, so that it is read block by block.
    """

    ndim = 2

    def __init__(self, source: str, episodes: Sequence[Mapping[str, Any]]):
        """Puts arrays together.

        Args:
          source: what error messages begin with.
          episodes: for each the arrays [n, d] or [n] whose columns stand side by side, numpy's or
            h5py's, by the names that error messages call them.

        Raises:
          InputError: an array does not hold numbers, has more axes (images), another length than
            others of its episode, or another width than the same one of other episodes.
        """
        self.source = source
        self.names = [next(iter(episode), "") for episode in episodes]  # the first of each
        first = list(episodes[0].values())
        for episode in episodes:
            for (name, array), like in zip(episode.items(), first, strict=True):
                _check(source, name, array, next(iter(episode.values())), like)
        self._episodes = [list(episode.values()) for episode in episodes]
        self.lengths = np.array([len(arrays[0]) for arrays in self._episodes])  # steps of each
        self._starts = np.append(0, np.cumsum(self.lengths))
        self.shape = (int(self._starts[-1]), sum(map(_width, first)))
        self.columns = (
            tuple(  # their names: those of the arrays, with a number where it has several
                name.rpartition("/")[2] + (f"_{index}" if array.ndim == 2 else "")
                for name, array in episodes[0].items()
                for index in range(_width(array))
            )
        )
        self.dtype = np.result_type(*{array.dtype for arrays in self._episodes for array in arrays})

    @property
    def last(self) -> np.ndarray:
        """[N] bool: whether a row is the last of its episode."""
        last = np.zeros(len(self), bool)
        last[self._starts[1:] - 1] = True
        return last

    def column(self) -> np.ndarray:
        """The only column [N].

        Raises:
          InputError: there are several.
        """
        if self.shape[1] != 1:
            raise InputError(
                f"{self.source}: {self.names[0]!r} has {self.shape[1]} columns; store one number "
                "per step"
            )
        return self[0 : len(self)][:, 0]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        first = int(np.searchsorted(self._starts, rows.start, "right")) - 1
        after = int(np.searchsorted(self._starts, rows.stop, "left"))
        blocks = []
        for start, arrays in zip(
            self._starts[first:after], self._episodes[first:after], strict=True
        ):
            part = slice(max(0, rows.start - start), max(0, rows.stop - start))
            columns = [array[part] for array in arrays]
            blocks.append(np.concatenate([c.reshape(len(c), -1) for c in columns], axis=1))
        return np.concatenate(blocks)


def check_lengths(*tables: Stacked) -> None:
    """Refuses tables of the same episodes that differ in the length of one.

    Raises:
      InputError: see above.
    """
    first = tables[0]
    for other in tables[1:]:
        for name, steps, known, length in zip(
            other.names, other.lengths, first.names, first.lengths, strict=True
        ):
            if steps != length:
                raise InputError(
                    f"{other.source}: {name!r} has {steps} rows and {known!r} has {length}; store "
                    "one row per step in both"
                )


def _width(array: Any) -> int:
    return array.shape[1] if array.ndim == 2 else 1


def _check(source: str, name: str, array: Any, beside: Any, like: Any) -> None:
    """Checks an array against the first one of its episode, and the same one of the first."""
    if array.dtype.kind not in "buif":
        raise InputError(f"{source}: {name!r} has dtype {array.dtype}, not numbers; store float32")
    if array.ndim not in (1, 2) or not _width(array):
        remedy = "images are not read" if array.ndim > 2 else "store one row of numbers per step"
        raise InputError(f"{source}: {name!r} has shape {list(array.shape)}; {remedy}")
    if len(array) != len(beside) or not len(array):
        raise InputError(
            f"{source}: {name!r} has {len(array)} rows, the first array of its episode has "
            f"{len(beside)}; store one row per step, and at least one"
        )
    if _width(array) != _width(like):
        raise InputError(
            f"{source}: {name!r} has {_width(array)} columns, not {_width(like)} as in the first "
            "episode; store the same quantities in all episodes"
        )
