"""Configurations: every key reaches its setting, the paper's defaults are the defaults."""

import dataclasses

import pytest

from configs import base, crr, diffusion_ql, edp_cql, edp_crr, edp_iql, edp_td3, iql, td3_bc
from configs.tasks import domain_of, task_settings
from edp_jax import InputError, algorithms, data
from edp_jax.algorithms import AlgorithmConfig, Hypers
from experiments import launch


@pytest.mark.parametrize("cls", [AlgorithmConfig, Hypers])
def test_library_and_command_line_have_the_same_defaults(cls):
    config = base.make_config("some-task")
    for field in dataclasses.fields(cls):
        assert config[field.name] == field.default, field.name


MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
PAPER_TASKS = [
    *(
        f"{robot}-{quality}-v2"
        for robot in ("halfcheetah", "hopper", "walker2d")
        for quality in ("medium", "medium-replay")
    ),
    *(f"{robot}-medium-expert-v2" for robot in ("halfcheetah", "hopper", "walker2d")),
    *(f"antmaze-{maze}-v0" for maze in MAZES),
    *(
        "pen-human-v1",
        "pen-cloned-v1",
        "kitchen-complete-v0",
        "kitchen-partial-v0",
        "kitchen-mixed-v0",
    ),
]


@pytest.mark.parametrize("algorithm", algorithms.REGISTRY)
@pytest.mark.parametrize("policy", ["diffusion", "gaussian"])
def test_the_papers_tasks_have_settings_for_every_learner(algorithm, policy):
    assert len(PAPER_TASKS) == 20
    for task in PAPER_TASKS:
        assert data.find_task(task).name == task and domain_of(task)
        settings = task_settings(task, algorithm, policy)
        assert (
            {"num_steps", "seeds", "eval_episodes"}
            <= settings.keys()
            <= set(base.make_config(None))
        )
    assert task_settings("maze2d-umaze-v1", algorithm, policy) == {}


@pytest.mark.parametrize(
    ("task", "expected"),
    [  # eta, gradient clip and number of updates per task (EDP, App. B, and its public code)
        (
            "hopper-medium-v2",
            {"eta": 1.0, "grad_clip": 5.0, "num_steps": 2_000_000, "seeds": (0, 1, 2, 3, 4)},
        ),
        ("kitchen-complete-v0", {"eta": 0.005, "grad_clip": 9.0, "eval_episodes": 100}),
        (
            "antmaze-large-play-v0",
            {
                "eta": 4.5,
                "grad_clip": 10.0,
                "num_backup_actions": 10,
                "reward_transform": "antmaze",
            },
        ),
        ("antmaze-umaze-v0", {"eta": 0.5, "grad_clip": 2.0, "num_backup_actions": 1}),
        ("pen-human-v1", {"eta": 0.15, "learning_rate": 3e-5, "reward_transform": "standardize"}),
        (
            "builtin/walker2d-medium-replay",
            {"eta": 0.1, "num_steps": 15_000, "seeds": (0,), "normalize_observations": True},
        ),
    ],
)
def test_a_task_brings_its_settings(task, expected):
    config = edp_td3.get_config(task)
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("task", "expected"),
    [  # IQL, 2110.06169, App. A
        (
            "hopper-medium-v2",
            {"algorithm": "iql", "reward_transform": "iql_locomotion", "expectile": 0.7},
        ),
        ("antmaze-large-play-v0", {"reward_transform": "iql_antmaze", "expectile": 0.9}),
        ("pen-human-v1", {"reward_transform": "standardize", "expectile": 0.7}),
        ("kitchen-complete-v0", {"reward_transform": "none", "expectile": 0.7}),
    ],
)
def test_iql_has_rewards_of_its_own(task, expected):
    config = edp_iql.get_config(task)
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("module", "task", "expected"),
    [
        # Diffusion-QL clips per task and trains kitchen-complete for 250 epochs (2208.06193, App. D)
        (
            diffusion_ql,
            "hopper-medium-v2",
            {"grad_clip": 9.0, "num_timesteps": 5, "sampler": "ddpm", "num_candidates": 50},
        ),
        (diffusion_ql, "kitchen-complete-v0", {"eta": 0.005, "num_steps": 250_000}),
        (crr, "builtin/hopper-medium", {"critic_layer_norm": True, "eta": 1.0}),
        (diffusion_ql, "antmaze-medium-play-v0", {"learning_rate": 1e-3, "num_backup_actions": 10}),
        # the feed-forward learners keep their published settings
        (
            td3_bc,
            "kitchen-complete-v0",
            {"eta": 2.5, "grad_clip": 0.0, "hidden_dims": (256, 256), "activation": "relu"},
        ),
        (
            iql,
            "pen-human-v1",
            {"iql_temperature": 0.5, "learning_rate": 3e-4, "policy": "gaussian"},
        ),
        # CQL's threshold on the hand and in the kitchen is its paper's (2006.04779)
        (edp_cql, "pen-human-v1", {"cql_threshold": 5.0, "eta": 0.15}),
        (edp_cql, "kitchen-complete-v0", {"cql_threshold": 5.0, "cql_alpha": 5.0, "eta": 0.005}),
        (edp_cql, "hopper-medium-v2", {"cql_threshold": -2.4}),
        # no guidance, no eta
        (edp_crr, "walker2d-medium-v2", {"eta": 1.0, "grad_clip": 5.0}),
    ],
)
def test_a_learner_has_settings_of_its_own(module, task, expected):
    config = module.get_config(task)
    assert {key: config[key] for key in expected} == expected


def resolve(**changes):
    config = edp_td3.get_config("builtin/hopper-medium")
    config.update(changes)
    return launch.resolve(config)


def test_a_configuration_becomes_settings():
    settings = resolve(eta=0.5, hidden_dims=(8, 8), seeds=(1, 2), data_dir="/somewhere")
    assert settings.hypers.eta == 0.5
    assert settings.algorithm.hidden_dims == (8, 8)
    assert [member.seed for member in settings.members] == [1, 2]
    assert settings.data_dir == "/somewhere"
    assert settings.task.environment == "hopper"


def test_a_sweep_is_every_traced_setting_and_nothing_else():
    assert set(base.SWEEPABLE) == {field.name for field in dataclasses.fields(Hypers)}
    settings = resolve(seeds=(0, 1), sweep={"eta": (0.5, 1.0), "tau": (0.1, 0.2)})
    assert len(settings.members) == launch.num_members(settings.config) == 8
    assert settings.members[1].columns == {"seed": 1, "eta": 0.5, "tau": 0.1}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"sweep": {"tau": (0.5, 1.5)}}, r"sweep.tau=\(0.5, 1.5\) must be in 0..1"),
        ({"sweep": {"eta": ("a",)}}, "sweep.eta="),
        ({"sweep": {"discount": (0.9,)}, "n_step": 3}, "sweep.discount=.* needs n_step=1"),
        (
            {"algorithm": "iql", "sweep": {"eta": (0.5, 1.0)}},
            "sweep.eta=.* iql does not read eta .* one of discount, .*expectile",
        ),
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
        ({"cql_threshold": float("nan")}, "cql_threshold=nan must be finite"),
        ({"cql_threshold": -float("inf")}, "cql_threshold=-inf must be finite"),
        ({"n_step": 0}, "n_step=0"),
        ({"return_weighting": -1.0}, "return_weighting=-1.0"),
        ({"num_target_critics": 3}, "num_target_critics=3"),
        ({"algorithm": "td3", "policy": "gaussian"}, "does not fit"),
        ({"data_placement": "disk"}, "data_placement=disk must be one of auto, device, host"),
        ({"writers": ("paper",)}, "'paper'"),
        ({"task": "hoper-medium-v2"}, "hopper-medium-v2"),
    ],
)
def test_useless_values_are_refused_in_one_line(changes, names):
    with pytest.raises(InputError, match=names) as error:
        resolve(**changes)
    assert "\n" not in str(error.value)
