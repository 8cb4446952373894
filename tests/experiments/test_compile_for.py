"""Programs for processors that are not here: what is compiled for a GPU or a TPU."""

import importlib.util
import re
import sys

import jax
import pytest

from edp_jax import InputError, configuration
from edp_jax.training import sharding
from edp_jax.training.members import grid
from experiments import ahead, chips, compile_for
from experiments.traffic import memory_bytes

from ..algorithms.builders import EVERY_LEARNER, SPEC, tiny_settings


def tiny_task(name: str) -> ahead.Task:
    return ahead.Task(name, tiny_settings(name), SPEC, num_transitions=40, batch_size=4)


@EVERY_LEARNER
def test_training_and_acting_can_be_lowered_for_a_gpu(name):
    """Without a GPU: every operation has a rule for it, and none is a call of a library."""
    task, mesh = tiny_task(name), sharding.member_mesh(2, jax.devices()[:1])
    for traced in (ahead.training(task, grid((0, 1)), mesh), ahead.acting(task, 2, 3, mesh)):
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        assert "stablehlo.dot_general" in text
        assert not re.findall(r"custom_call @(\w+)", text)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the package libtpu")
def test_a_training_compiled_for_a_tpu_that_is_not_there(monkeypatch):
    """Two seeds on two of four chips: nothing passes between the chips."""
    for name, value in ahead.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    program = ahead.compile_training(
        tiny_task("edp_td3"), grid((0, 1)), ahead.find_devices("v5e:2x2")
    )
    assert program is not None and program.members == 1 and program.collectives == 0
    assert program.argument_bytes > 0 and program.code_bytes > 0
    hosts = ahead.find_devices("v5e:2x4")  # two of four chips each
    assert len({device.process_index for device in hosts}) == 2
    alone = ahead.compile_acting(tiny_task("bc"), 1, 1, hosts[:1])
    assert alone is not None and alone.members == 1
    with pytest.raises(InputError, match="--topology=v5e:7x1: libtpu does not know it"):
        ahead.find_devices("v5e:7x1")


def test_without_libtpu_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(InputError, match=r"compiling for a TPU: .*libtpu.*'\.\[tpu\]'"):
        ahead.find_devices("v5e:2x2")


def test_chips_and_precisions_that_are_unknown_are_refused():
    with pytest.raises(InputError, match="the chip 'v1' is unknown; use one of v4, v5e"):
        chips.find_chip("v1:2x2")
    with pytest.raises(InputError, match="JAX_DEFAULT_MATMUL_PRECISION=odd: .* unset it"):
        chips.count_passes("odd")


@pytest.mark.parametrize(("moved", "expected"), [(1e6, 2e5), (1e8, 2e4)])
def test_the_slower_of_two_limits_counts(moved, expected):
    """Two agents with 5e9 operations each, three passes: 3 x 1e10 / 3e15 = 10 microseconds.

    1 MB takes 1 microsecond at 1e12 bytes/s, 100 MB take 100.
    """
    program = ahead.Program("", 0.0, 0, 0, 0, 0, moved_bytes=moved, flops=5e9, members=2)
    chip = chips.Chip(flops=3e15, bandwidth=1e12, memory=16e9)
    assert compile_for.most_per_second(program, chip, 3) == pytest.approx(expected)


def test_operations_in_bfloat16_take_one_pass():
    """Of 5e9 operations 2e9 are the sampler's: 2 agents x (3 x 3e9 + 2e9) = 2.2e10 at 1e15 /s."""
    program = ahead.Program("", 0.0, 0, 0, 0, 0, moved_bytes=0.0, flops=5e9, members=2)
    chip = chips.Chip(flops=1e15, bandwidth=1e12, memory=16e9)
    found = compile_for.most_per_second(program, chip, 3, coarse=int(2e9))
    assert found == pytest.approx(2 / 2.2e-5)


def test_a_single_observation_is_for_one_chip_and_the_search_brackets_the_limit(monkeypatch):
    """The states of 17 seeds fill the memory, so the search begins at 18. Here 12 seeds fit.

    It asks for an eighth less each time: 18, 16, 14, 13 and 12. The last two are its answer.
    """
    asked = []

    def training(task, members, devices):
        asked.append(len(members))
        return "a program" if len(members) <= 12 else None

    def acting(task, number, observations, devices):
        return number, observations, devices

    monkeypatch.setattr(ahead, "compile_training", training)
    monkeypatch.setattr(ahead, "compile_acting", acting)
    task, chip = tiny_task("edp_td3"), chips.Chip(1e15, 1e12, 0.0)
    chip = chip._replace(memory=17.5 * ahead.state_bytes(task))
    assert compile_for.most_seeds(task, chip, ["chip"]) == (12, 13)
    assert asked == [18, 16, 14, 13, 12]
    run = configuration.resolve(configuration.make_config("edp_td3", seeds=(3, 4), eval_episodes=7))
    found = list(compile_for.compile_all(task, run, ["chip", "other"]))
    assert found == ["a program", (2, 7, ["chip", "other"]), (1, 1, ["chip"])]
    large = configuration.resolve(configuration.make_config("edp_td3", seeds=tuple(range(13))))
    assert list(compile_for.compile_all(task, large, ["chip", "other"])) == []


def test_another_learner_gets_the_settings_that_it_has():
    config = configuration.make_config("edp_td3", "hopper-medium-v2", seeds=(3, 4), num_critics=5)
    other = compile_for.for_learner("bc", configuration.resolve(config))
    assert other.algorithm == "bc" and other.run.seeds == (3, 4)
    task = configuration.make_config("bc", "hopper-medium-v2")
    assert other.config["learning_rate"] == task["learning_rate"]


# 40 rows of 8 numbers in the memory, of which 4 are gathered; weights [8, 8] stay on the chip.
PROGRAM = """
HloModule m

%gathering (param_0.1: f32[40,8], param_1.1: s32[4]) -> f32[4,8] {
  %param_0.1 = f32[40,8]{1,0:T(8,128)} parameter(0)
  %view = f32[40,8]{1,0:T(8,128)} bitcast(%param_0.1)
  %param_1.1 = s32[4]{0:T(128)S(1)} parameter(1)
  ROOT %gather = f32[4,8]{1,0:T(8,128)S(1)} gather(%view, %param_1.1), slice_sizes={1,8}
}

%writing (param_0.2: f32[15,4,8], param_1.2: f32[1,4,8], param_2.2: s32[]) -> f32[15,4,8] {
  %param_0.2 = f32[15,4,8]{2,1,0} parameter(0)
  %param_1.2 = f32[1,4,8]{2,1,0:S(1)} parameter(1)
  %param_2.2 = s32[] parameter(2)
  ROOT %write = f32[15,4,8]{2,1,0} dynamic-update-slice(%param_0.2, %param_1.2, %param_2.2)
}

%inner.body (carry.1: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %carry.1 = (s32[], f32[4,8]{1,0}) parameter(0)
  %x.1 = f32[4,8]{1,0} get-tuple-element(%carry.1), index=1
  %y.1 = bf16[4,8]{1,0} convert(%x.1)
}

%inner.condition (carry.2: (s32[], f32[4,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(15)
}

%outer.body (carry.3: (s32[], f32[40,8])) -> (s32[], f32[40,8]) {
  %rows = f32[40,8]{1,0} get-tuple-element(%carry.3), index=1
  %numbers = s32[4]{0:S(1)} get-tuple-element(%carry.3), index=2
  %history = f32[15,4,8]{2,1,0} get-tuple-element(%carry.3), index=3
  %new = f32[1,4,8]{2,1,0:S(1)} get-tuple-element(%carry.3), index=4
  %place = s32[]{:S(2)} get-tuple-element(%carry.3), index=5
  %batch = f32[4,8]{1,0:S(1)} fusion(%rows, %numbers), kind=kCustom, calls=%gathering
  %kept = f32[15,4,8]{2,1,0} fusion(%history, %new, %place), kind=kLoop, calls=%writing
  %copy-start = (f32[8,8]{1,0:S(1)}, f32[8,8]{1,0}, u32[]{:S(2)}) copy-start(%weights)
  %copy-done = f32[8,8]{1,0:S(1)} copy-done(%copy-start)
  %loop.2 = (s32[], f32[4,8]{1,0}) while(%start.2), condition=%inner.condition, body=%inner.body
}

%outer.condition (carry.4: (s32[], s32[])) -> pred[] {
  %carry.4 = (s32[], s32[]) parameter(0)
}

ENTRY %main (rows.0: f32[40,8]) -> f32[] {
  %rows.0 = f32[40,8]{1,0} parameter(0)
  %sum = f32[]{:S(2)} reduce(%rows.0), to_apply=%add
  %loop.1 = (s32[], f32[40,8]{1,0}) while(%start.1), condition=%outer.condition, body=%outer.body
}
"""


def test_moved_bytes_by_hand():
    """All 40 x 8 float32 are read once.

    Then seven times: 4 x 8 float32 are gathered, as many written into a longer array, and 8 x 8
    copied to the chip; and fifteen times each, 4 x 8 float32 become bfloat16 in the memory.
    """
    row = 4 * 8
    each = 4 * row + 4 * row + 4 * 8 * 8 + 15 * (4 * row + 2 * row)
    assert memory_bytes(PROGRAM, (7,)) == 4 * 40 * 8 + 7 * each
