"""Whether JAX finds the devices that it is asked to use."""

import os

import jax

from edp_jax.errors import one_line
from edp_jax.types import InputError


def check_devices_exist() -> None:
    """Starts JAX's devices.

    Raises:
      InputError: the platform that is asked for is not there.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError, ValueError) as error:
        names = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_VISIBLE_DEVICES")
        given = " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
        asked = given or "JAX's devices"
        raise InputError(
            f"{asked[:80]}: JAX cannot use that here ({one_line(error)[:80]}); install what it "
            "needs, as in pip install 'jax[cuda12]', or unset the variable"
        ) from error
