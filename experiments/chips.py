"""TPU chips: what they could do at best, and the topologies that libtpu knows of them."""

from typing import NamedTuple

from edp_jax import InputError


class Chip(NamedTuple):
    """A chip by its published numbers."""

    flops: float  # bfloat16 operations per second, at most
    bandwidth: float  # bytes per second between the chip and its memory
    memory: float  # bytes
    config: str = "default"  # of libtpu; megacore: its two cores are one device, as JAX has them


# "System architecture" of docs.cloud.google.com/tpu/docs/v4, .../v5e, .../v5p, .../v6e
CHIPS = {
    "v4": Chip(275e12, 1200e9, 32e9, "megacore"),
    "v5e": Chip(197e12, 819e9, 16e9),
    "v5p": Chip(459e12, 2765e9, 95e9, "megacore"),
    "v6e": Chip(918e12, 1600e9, 32e9),
}
_PASSES = {  # bfloat16 products that a product of float32 matrices is made of
    **dict.fromkeys(("default", "fastest", "bfloat16"), 1),
    **dict.fromkeys(("high", "bfloat16_3x", "tensorfloat32"), 3),
    **dict.fromkeys(("highest", "float32"), 6),
}


def find_chip(topology: str) -> Chip:
    """The chip of a topology such as v5e:2x2.

    Raises:
      InputError: its numbers are not known here.
    """
    name = topology.partition(":")[0]
    if name not in CHIPS:
        raise InputError(
            f"--topology={topology}: the chip {name!r} is unknown; use one of {', '.join(CHIPS)} "
            "and a shape, as in v5e:2x2 or v4:2x2x1"
        )
    return CHIPS[name]


def count_passes(precision: str) -> int:
    """The bfloat16 products that a product of float32 matrices is made of.

    Raises:
      InputError: it is not known for this precision.
    """
    if precision not in _PASSES:
        raise InputError(
            f"JAX_DEFAULT_MATMUL_PRECISION={precision}: its cost on a TPU is unknown; unset it and "
            "set --config.matmul_precision"
        )
    return _PASSES[precision]
