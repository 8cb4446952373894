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
        widths: list[int] = []
        lengths = []
        for episode in episodes:
            shapes = [_shape(source, name, array) for name, array in episode.items()]
            widths = widths or [width for _, width in shapes]
            for name, shape, width in zip(episode, shapes, widths, strict=True):
                _compare(source, name, shape, (shapes[0][0], width))
            lengths.append(shapes[0][0])
        self._episodes = [list(episode.values()) for episode in episodes]
        self.lengths = np.array(lengths)  # steps of each
        self._starts = np.append(0, np.cumsum(self.lengths))
        self.shape = (int(self._starts[-1]), sum(widths))
        self.columns = tuple(  # names: that of the array, and a number where it has several
            name.rpartition("/")[2] + (f"_{index}" if array.ndim == 2 else "")
            for (name, array), width in zip(episodes[0].items(), widths, strict=True)
            for index in range(width)
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


def _shape(source: str, name: str, array: Any) -> tuple[int, int]:
    """Rows and columns of an array of numbers."""
    kind, shape = array.dtype.kind, array.shape
    if kind not in "buif":
        raise InputError(f"{source}: {name!r} has dtype {array.dtype}, not numbers; store float32")
    if len(shape) not in (1, 2) or 0 in shape:
        remedy = "images are not read" if len(shape) > 2 else "store one row of numbers per step"
        raise InputError(f"{source}: {name!r} has shape {list(shape)}; {remedy}")
    return shape[0], shape[1] if len(shape) == 2 else 1


def _compare(source: str, name: str, shape: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Checks the rows against those of the episode, the columns against the first episode's."""
    if shape[0] != wanted[0]:
        raise InputError(
            f"{source}: {name!r} has {shape[0]} rows, the first array of its episode has "
            f"{wanted[0]}; store one row per step in both"
        )
    if shape[1] != wanted[1]:
        raise InputError(
            f"{source}: {name!r} has {shape[1]} columns, not {wanted[1]} as in the first episode; "
            "store the same quantities in all episodes"
        )
