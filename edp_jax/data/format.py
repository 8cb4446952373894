"""What a format of .hdf5 and .npz files has to say of itself; `edp_jax.data.formats` lists them."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

from edp_jax.data.layout import AS_STORED, Layout
from edp_jax.data.raw import RawDataset
from edp_jax.data.storage import MEMORY, Storage


class Content(Protocol):
    """An open file: arrays by name, in HDF5 also groups of them, as in "data/demo_0/actions"."""

    source: str  # what error messages begin with

    def names(self, group: str = "") -> list[str]:
        """The names of all arrays and groups in a group; the file itself is the group ""."""
        ...

    def array(self, name: str) -> Any:
        """An array, numpy's or h5py's.

        Raises:
          InputError: there is none, it cannot be read, or it is not whole or not numbers and texts.
        """
        ...

    def attribute(self, group: str, name: str) -> Any:
        """An attribute of a group; None where there is none."""
        ...


class Reading(NamedTuple):
    """How a file is to be read."""

    layout: Layout = AS_STORED
    max_episode_steps: int | None = None  # the time limit, where it is known
    storage: Storage = MEMORY  # where the arrays lie that are read


@dataclasses.dataclass(frozen=True)
class Format:
    """A format, which a file is known by from the names in it."""

    name: str
    matches: Callable[[Collection[str]], bool]
    """Whether a file with these names at its top is of this format."""
    read: Callable[[Content, Reading], RawDataset]
    """The steps of a file.

    Raises:
      InputError: the file is not as the format wants it.
    """
    layout: tuple[str, ...] = ()  # the settings of `Layout` that it reads; others are refused
