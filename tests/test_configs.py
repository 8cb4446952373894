"""Configurations: every key reaches its setting, the paper's defaults are the defaults."""

import dataclasses

import pytest

from configs import base, edp_crr, edp_iql, edp_td3
from configs.tasks import TASKS
from edp_jax import InputError, data
from edp_jax.algorithms import AlgorithmConfig, Hypers
from experiments import launch


@pytest.mark.parametrize("cls", [AlgorithmConfig, Hypers])
def test_library_and_command_line_have_the_same_defaults(cls):
    config = base.make_config("some-task")
    for field in dataclasses.fields(cls):
        assert config[field.name] == field.default, field.name


def test_every_task_with_settings_exists_and_has_known_keys():
    for task, settings in TASKS.items():
        assert data.find_task(task).name == task
        assert settings.keys() <= set(base.make_config(None))


@pytest.mark.parametrize(
    ("task", "expected"),
    [  # METHOD: eta, gradient clip and number of updates per task (EDP, App. B, and its public code)
        ("hopper-medium-v2", {"eta": 1.0, "grad_clip": 5.0, "num_steps": 2_000_000, "seeds": (0, 1, 2, 3, 4)}),
        ("kitchen-complete-v0", {"eta": 0.005, "grad_clip": 9.0, "eval_episodes": 100}),
        ("antmaze-large-play-v0", {"eta": 4.5, "grad_clip": 10.0, "num_backup_actions": 10, "reward_transform": "antmaze"}),
        ("antmaze-umaze-v0", {"eta": 0.5, "grad_clip": 2.0, "num_backup_actions": 1}),
        ("pen-human-v1", {"eta": 0.15, "learning_rate": 3e-5, "reward_transform": "standardize"}),
    ],
)
def test_a_task_brings_its_settings(task, expected):
    config = edp_td3.get_config(task)
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("task", "expected"),
    [  # IQL, 2110.06169, App. A
        ("hopper-medium-v2", {"algorithm": "iql", "reward_transform": "iql_locomotion", "expectile": 0.7}),
        ("antmaze-large-play-v0", {"reward_transform": "iql_antmaze", "expectile": 0.9}),
        ("kitchen-complete-v0", {"reward_transform": "none", "expectile": 0.7}),
    ],
)
def test_iql_has_rewards_of_its_own(task, expected):
    config = edp_iql.get_config(task)
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize("module", [edp_td3, edp_crr, edp_iql])
def test_every_configuration_builds_its_learner(module):
    settings = launch.resolve(module.get_config("builtin/hopper-medium"))
    assert settings.config.algorithm == module.__name__.removeprefix("configs.edp_")


def resolve(**changes):
    config = edp_td3.get_config("builtin/hopper-medium")
    config.update(changes)
    return launch.resolve(config)


def test_a_configuration_becomes_settings():
    settings = resolve(eta=0.5, hidden_dims=(8, 8), seeds=(1, 2), data_dir="/somewhere")
    assert settings.hypers.eta == 0.5
    assert settings.algorithm.hidden_dims == (8, 8)
    assert settings.seeds == (1, 2)
    assert settings.data_dir == "/somewhere"
    assert settings.task.environment == "hopper"


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"num_steps": 0}, "num_steps=0"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"seeds": ()}, r"seeds=\(\)"),
        ({"seeds": (1, 1)}, r"seeds=\(1, 1\)"),
        ({"discount": 1.5}, "discount=1.5"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"grad_clip": -1.0}, "grad_clip=-1.0"),
        ({"algorithm": "td4"}, "'td4'"),
        ({"schedule": "exp"}, "'exp'"),
        ({"sampler": "euler"}, "'euler'"),
        ({"num_timesteps": 10}, "sampler_calls=15"),
        ({"ddim_eta": 0.5}, "eta=0.5 does not apply to dpm_solver_3"),
        ({"activation": "sine"}, "'sine'"),
        ({"hidden_dims": ()}, "hidden_dims"),
        ({"num_critics": 0}, "num_critics=0"),
        ({"algorithm": "crr", "crr_weight": "linear"}, "'linear'"),
        ({"expectile": 1.5}, "expectile=1.5"),
        ({"writers": ("paper",)}, "'paper'"),
        ({"task": "hoper-medium-v2"}, "hopper-medium-v2"),
    ],
)
def test_useless_values_are_refused_in_one_line(changes, names):
    with pytest.raises(InputError, match=names) as error:
        resolve(**changes)
    assert "\n" not in str(error.value)
