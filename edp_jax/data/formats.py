"""The formats of .hdf5 and .npz files. One more is a module with a `FORMAT` and its line here."""

from edp_jax.data import compact, d3rlpy, flat, imitation, neorl, robomimic
from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.layout import check_read
from edp_jax.data.raw import RawDataset

FORMATS: tuple[Format, ...] = (  # the first that matches
    robomimic.FORMAT,
    d3rlpy.FORMAT,
    d3rlpy.FORMAT_1,
    neorl.FORMAT,
    imitation.FORMAT,
    compact.FORMAT,
    flat.FORMAT,
)
LAYOUT = tuple(sorted({name for entry in FORMATS for name in entry.layout}))


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads a file in the format that its names tell.

    Raises:
      InputError: the file is not as its format wants it, or the format does not read a setting.
    """
    names = content.names()
    found = next(entry for entry in FORMATS if entry.matches(names))
    check_read(reading.layout, found.layout, f"{found.name}, the format of {content.source},")
    return found.read(content, reading)
