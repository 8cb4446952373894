"""Devices that JAX is asked to use."""

import jax
import pytest

from edp_jax import InputError
from edp_jax.devices import check_devices_exist


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize 'cuda'")])
def test_a_platform_that_is_not_there_is_one_line(monkeypatch, error):
    def missing():
        raise error

    monkeypatch.setattr(jax, "devices", missing)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(InputError, match=r"JAX_PLATFORMS=cuda.*pip install 'jax\[cuda12\]'"):
        check_devices_exist()
