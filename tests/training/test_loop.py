"""What the training program is compiled with."""

import jax
import pytest

from edp_jax.training import loop


@pytest.mark.parametrize(
    "platform, flag",
    [("gpu", "xla_gpu_enable_command_buffer"), ("cpu", "xla_cpu_prefer_vector_width")],
)
def test_a_flag_of_the_user_counts_more_than_the_choice_for_the_processor(
    platform, flag, monkeypatch
):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    assert flag in loop.compiler_options(platform)
    monkeypatch.setenv("XLA_FLAGS", f"--{flag}=1")
    assert flag not in loop.compiler_options(platform)


def test_loops_are_recorded_on_a_gpu(monkeypatch):
    """Without WHILE and CONDITIONAL the GPU waits for the host in every step of a loop."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    options = loop.compiler_options("gpu")
    assert {"WHILE", "CONDITIONAL"} <= set(options["xla_gpu_enable_command_buffer"].split(","))
    # names and values are such that XLA knows; a CPU ignores what is for GPUs
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2


def test_no_options_for_other_processors():
    assert loop.compiler_options("tpu") == {}
