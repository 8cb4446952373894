"""What the environment of a process may not do to the numbers."""

import subprocess
import sys

import jax
import pytest

from edp_jax.training import process

SHOW = """
from edp_jax.training import process
process.fix_numbers()
import jax
print(jax.random.normal(jax.random.key(0), (2,)).tolist(), jax.numpy.ones(1).dtype)
"""


def test_variables_that_change_numbers_are_told_and_not_used(monkeypatch):
    def numbers() -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, timeout=300
        )
        return done.stdout, done.stderr

    expected = numbers()[0]
    assert "float32" in expected
    changes = {
        "JAX_ENABLE_X64": "1",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_RANDOM_SEED_OFFSET": "5",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DISABLE_JIT": "1",
        "JAX_DEBUG_NANS": "1",
    }
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    out, told = numbers()
    assert out == expected
    for name, value in changes.items():
        assert f"{name}={value} is not used" in told


def test_every_option_that_is_fixed_is_one_of_jax_and_has_that_value_by_default():
    known = {name: value for name, value in process._FIXED.items() if hasattr(jax.config, name)}
    assert {"jax_enable_x64", "jax_default_prng_impl", "jax_threefry_partitionable"} <= set(known)
    for name, value in known.items():
        assert getattr(jax.config, name) == value or getattr(jax.config, name).value == value


def test_only_flags_that_change_numbers_are_recorded(monkeypatch):
    for name in ("NVIDIA_TF32_OVERRIDE", "JAX_DEFAULT_MATMUL_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    flags = "--xla_force_host_platform_device_count=8  --xla_b=1 --xla_dump_to=/x --xla_a=2"
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert process.numeric_environment() == {"XLA_FLAGS": "--xla_a=2 --xla_b=1"}
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert process.numeric_environment() == {"NVIDIA_TF32_OVERRIDE": "0"}
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "tensorfloat32")
    assert process.numeric_environment()["JAX_DEFAULT_MATMUL_PRECISION"] == "tensorfloat32"


@pytest.mark.parametrize(
    ("given", "asked", "platform", "expected"),
    [
        (None, "auto", "cpu", ""),  # as JAX does by default
        (None, "auto", "tpu", "tensorfloat32"),
        ("float32", "auto", "tpu", "float32"),
        ("float32", "bfloat16", "tpu", "bfloat16"),
    ],
)
def test_the_precision_of_products(monkeypatch, given, asked, platform, expected):
    set_to = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: set_to.append((name, value)))
    with jax.default_matmul_precision(given):
        assert process.set_precision(asked, platform) == expected
    assert set_to == ([("jax_default_matmul_precision", expected)] if expected else [])
