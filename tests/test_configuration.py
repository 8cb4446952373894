"""Configurations: every key reaches its setting, the paper's defaults are the defaults."""

import importlib
import json

import numpy as np
import pytest

from edp_jax import InputError, algorithms, configuration, data
from edp_jax.configuration import build, published
from edp_jax.data.layout import rewards_by_rule
from edp_jax.data.reader import Reader, Request
from experiments import launch

MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
ROBOTS = ("halfcheetah", "hopper", "walker2d")
PAPER_TASKS = [
    *(f"{robot}-{q}-v2" for robot in ROBOTS for q in ("medium", "medium-replay", "medium-expert")),
    *(f"antmaze-{maze}-v0" for maze in MAZES),
    *("pen-human-v1", "pen-cloned-v1"),
    *("kitchen-complete-v0", "kitchen-partial-v0", "kitchen-mixed-v0"),
]


@pytest.mark.parametrize("name", [name for name in algorithms.REGISTRY if name != "edp"])
def test_the_papers_tasks_have_settings_for_every_learner(name):
    assert len(PAPER_TASKS) == 20
    for task in PAPER_TASKS:
        assert data.find_task(task).name == task and published.domain_of(task)
        config = configuration.make_config(name, task)
        assert config["seeds"] == (0, 1, 2, 3, 4)
        assert config["num_steps"] in (250_000, 1_000_000, 2_000_000)
        assert config["eval_episodes"] == (10 if task.endswith("-v2") else 100)
    assert published.domain_of("maze2d-umaze-v1") is None


def test_the_recommended_learner_has_no_numbers_per_task():
    """Only the name of the task differs; what has to fit the data is computed from them."""
    own, *others = (
        configuration.make_config("edp", task) | {"task": ""}
        for task in ("own.npz", "builtin/hopper-medium", *PAPER_TASKS)
    )
    assert all(config == own for config in others)
    assert (own["num_steps"], own["reward_transform"]) == (40_000, "unit_return")


CASES = [  # what was published for a learner on a task
    # eta, gradient clip and number of updates per task (EDP, App. B, and its public code)
    ("edp_td3", "hopper-medium-v2", {"eta": 1.0, "grad_clip": 5.0, "num_steps": 2_000_000}),
    ("edp_td3", "kitchen-complete-v0", {"eta": 0.005, "grad_clip": 9.0, "eval_episodes": 100}),
    ("edp_td3", "antmaze-large-play-v0", {"eta": 4.5, "grad_clip": 10.0, "num_backup_actions": 10}),
    ("edp_td3", "antmaze-large-play-v2", {"eta": 4.5, "reward_transform": "antmaze"}),
    ("edp_td3", "antmaze-umaze-v0", {"eta": 0.5, "grad_clip": 2.0, "num_backup_actions": 1}),
    ("edp_td3", "antmaze-umaze-diverse-v0", {"eta": 2.0, "num_backup_actions": 10}),
    ("edp_td3", "pen-human-v1", {"eta": 0.15, "learning_rate": 3e-5}),
    ("edp_td3", "pen-human-v1", {"reward_transform": "standardize"}),
    ("edp_td3", "legacy:pen-human-v1", {"eta": 0.15}),
    ("edp_td3", "builtin/walker2d-medium-replay", {"eta": 0.1, "num_steps": 15_000}),
    ("edp_td3", "builtin/walker2d-medium-replay", {"seeds": (0,), "normalize_observations": True}),
    # rewards, expectile and inverse temperature of IQL (2110.06169, App. A and B)
    ("edp_iql", "hopper-medium-v2", {"reward_transform": "iql_locomotion", "expectile": 0.7}),
    ("edp_iql", "antmaze-large-play-v0", {"reward_transform": "iql_antmaze", "expectile": 0.9}),
    ("edp_iql", "antmaze-large-play-v0", {"inverse_temperature": 10.0}),
    ("edp_iql", "pen-human-v1", {"reward_transform": "standardize", "expectile": 0.7}),
    ("edp_iql", "kitchen-complete-v0", {"reward_transform": "none", "inverse_temperature": 0.5}),
    # Diffusion-QL clips per task and trains kitchen-complete for 250 epochs (2208.06193, App. D)
    ("diffusion_ql", "hopper-medium-v2", {"grad_clip": 9.0, "num_timesteps": 5}),
    ("diffusion_ql", "hopper-medium-v2", {"sampler": "ddpm", "num_candidates": 50}),
    ("diffusion_ql", "kitchen-complete-v0", {"eta": 0.005, "num_steps": 250_000}),
    ("diffusion_ql", "antmaze-medium-play-v0", {"learning_rate": 1e-3}),
    # the feed-forward learners keep their published settings
    ("crr", "builtin/hopper-medium", {"critic_layer_norm": True}),
    ("td3_bc", "kitchen-complete-v0", {"eta": 2.5, "grad_clip": 0.0, "activation": "relu"}),
    ("td3_bc", "own.npz", {"hidden_dims": (256, 256), "normalize_observations": True}),
    ("iql", "pen-human-v1", {"learning_rate": 3e-4, "reward_transform": "none"}),
    # CQL's threshold on the hand and in the kitchen is its paper's (2006.04779)
    ("edp_cql", "pen-human-v1", {"cql_threshold": 5.0, "eta": 0.15}),
    ("edp_cql", "kitchen-complete-v0", {"cql_threshold": 5.0, "cql_alpha": 5.0}),
    ("edp_cql", "hopper-medium-v2", {"cql_threshold": -2.4}),
    ("edp_crr", "walker2d-medium-v2", {"grad_clip": 5.0}),
    ("edp_bcq", "builtin/hopper-medium", {"num_candidates": 100, "selection_temperature": 0.0}),
]


@pytest.mark.parametrize(("name", "task", "expected"), CASES)
def test_a_task_brings_its_settings(name, task, expected):
    config = configuration.make_config(name, task)
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize("name", launch.config_names())
def test_a_configuration_file_is_the_learners_configuration(name):
    config = importlib.import_module(f"configs.{name}").get_config("builtin/hopper-medium")
    assert config.to_dict() == configuration.make_config(name, "builtin/hopper-medium")
    assert launch.config_names() == sorted(algorithms.REGISTRY)


def resolve(name="edp_td3", task="builtin/hopper-medium", **changes):
    return configuration.resolve(configuration.make_config(name, task, **changes))


def test_a_configuration_becomes_settings():
    settings = resolve(eta=0.5, hidden_dims=(8, 8), seeds=(1, 2), data_dir="/somewhere", n_step=3)
    assert settings.learner.eta == 0.5
    assert settings.learner.hidden_dims == (8, 8)
    assert settings.run.seeds == (1, 2)
    assert settings.data_dir == "/somewhere"
    assert settings.task.environment == settings.environment.name == "hopper"
    assert settings.preprocessing.n_step == 3
    assert settings.preprocessing.discount == settings.learner.discount == 0.99


def test_a_configuration_read_back_from_json_is_the_same():
    config = configuration.make_config("edp_iql", "kitchen-complete-v0", seeds=(3, 4))
    again = json.loads(json.dumps(config))
    assert configuration.resolve(again).config == configuration.resolve(config).config == config


def test_a_sweep_has_a_member_for_every_point_and_seed():
    config = configuration.make_config(
        "edp_td3", seeds=(0, 1), sweep={"eta": (0.5, 1.0), "tau": (0.1, 0.2)}
    )
    assert configuration.num_members(config) == 8
    assert configuration.resolve(config).sweep == {"eta": (0.5, 1.0), "tau": (0.1, 0.2)}


def test_only_what_training_does_not_depend_on_may_change():
    may_change = configuration.may_change("edp_td3")
    assert {"num_steps", "eval_every", "eval_episodes", "log_every", "env_id"} <= may_change
    assert {"num_candidates", "selection_temperature", "data_placement", "execute"} <= may_change
    assert not {"eta", "seeds", "batch_size", "sampler_calls", "n_step", "discount"} & may_change
    assert "horizon" not in may_change
    assert {"keep_every", "best_by"} <= may_change


def test_all_actions_of_a_chunk_are_taken_unless_fewer_are_asked_for():
    assert resolve().execute == 1 and resolve(execute=1).execute == 1
    assert (
        resolve("bc", horizon=4).execute == 4 and resolve("bc", horizon=4, execute=3).execute == 3
    )
    assert resolve(horizon=4).preprocessing.window == 4


def test_a_configuration_of_before_a_setting_has_its_default():
    config = configuration.make_config("edp_td3", eta=0.5)
    earlier = {name: value for name, value in config.items() if name not in ("horizon", "execute")}
    assert configuration.resolve(earlier) == configuration.resolve(config)


ONLINE = {"online_steps": 400, "online_warmup": 50}
FQE = {"best_by": "fqe", "num_steps": 100, "keep_every": 10}
REFUSED = [
    ({"sweep": {"tau": (0.5, 1.5)}}, r"sweep.tau=1.5 must be above 0 and at most 1"),
    ({"sweep": {"eta": ("a",)}}, "sweep.eta='a' must be number"),
    ({"sweep": {"eta": (0.5, 0.5)}}, "sweep.eta=.* twice"),
    ({"sweep": {"num_critics": (2, 3)}}, "num_critics shapes the compiled program"),
    ({"sweep": {"discount": (0.9,)}, "n_step": 3}, "sweep.discount=.* needs n_step=1"),
    (
        {"sweep": {"discount": (0.9,)}, "reward_transform": "unit_return"},
        "sweep.discount=.* needs another reward_transform than unit_return",
    ),
    ({"num_steps": 0}, "num_steps=0 must be at least 1"),
    ({"num_steps": True}, "num_steps=True must be integer"),
    ({"online_warmup": 5}, "online_warmup=5 changes nothing: .* online_steps=0"),
    (ONLINE | {"env_id": "none"}, "online_steps=400: .* has no environment to act in"),
    (ONLINE | {"n_step": 3}, "online_steps=400 needs n_step=1"),
    (ONLINE | {"horizon": 3}, "online_steps=400 needs horizon=1"),
    (ONLINE | {"return_weighting": 0.1}, "online_steps=400 needs return_weighting=0"),
    (ONLINE | {"distributed": True}, "online_steps=400 needs distributed=False"),
    (ONLINE | {"online_warmup": 400}, "online_warmup=400 must be below online_steps=400"),
    (ONLINE | {"online_warmup": 0, "online_share": 1.0}, "online_warmup=0: with online_share=1"),
    (
        {"online_steps": 2**31 - 1, "online_warmup": 1, "updates_per_step": 2},
        "updates_per_step=2 the run has .* more than can be counted",
    ),
    (ONLINE | {"online_capacity": 57}, "online_capacity=57 must be at least 58"),
    (ONLINE | {"online_starting_noise": -0.5}, "online_starting_noise=-0.5 must be at least 0"),
    ({"batch_size": -1}, "batch_size=-1"),
    ({"seeds": ()}, r"seeds=\(\)"),
    ({"seeds": (1, 1)}, r"seeds=\(1, 1\)"),
    ({"seeds": (-1,)}, r"seeds=\(-1,\)"),
    ({"discount": 1.5}, "discount=1.5"),
    ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
    ({"grad_clip": -1.0}, "grad_clip=-1.0"),
    ({"schedule": "exp"}, "schedule=exp must be one of vp, linear, cosine"),
    ({"sampler": "euler"}, "sampler=euler"),
    ({"best_by": "luck"}, "best_by=luck must be one of score, fqe"),
    (FQE | {"keep_every": 0}, "keep_every=0 and num_steps=100 only the last .* such as 20"),
    (FQE | {"keep_every": 100}, "keep_every=100 and num_steps=100 only the last checkpoint"),
    (FQE | {"distributed": True}, "several processes do not judge together; leave it out"),
    (FQE | ONLINE, "best_by=fqe: judges by recorded steps alone, and with online_steps="),
    ({"num_timesteps": 10}, "sampler_calls=15"),
    ({"ddim_eta": 0.5}, "ddim_eta=0.5 changes nothing: .* sampler='dpm_solver_3'"),
    ({"num_candidates": 1, "selection_temperature": 2.0}, "selection_temperature=2.0 changes not"),
    ({"activation": "sine"}, "activation=sine"),
    ({"hidden_dims": ()}, "hidden_dims"),
    ({"hidden_dims": (0,)}, "hidden_dims"),
    ({"num_critics": 0}, "num_critics=0"),
    ({"num_target_critics": 3}, "num_target_critics=3"),
    ({"n_step": 0}, "n_step=0"),
    ({"horizon": 0}, "horizon=0 must be at least 1"),
    ({"horizon": 2.5}, "horizon=2.5 must be integer"),
    ({"horizon": 3, "n_step": 3}, "n_step=3: with horizon=3 .* leave n_step at 1"),
    ({"sweep": {"discount": (0.9,)}, "horizon": 3}, "sweep.discount=.* needs horizon=1"),
    ({"horizon": 3, "execute": 4}, "execute=4: the policy chooses only horizon=3 actions"),
    ({"execute": 2}, "execute=2: the policy chooses only horizon=1 actions"),
    ({"horizon": 3, "execute": -1}, "execute=-1 must be at least 0"),
    ({"return_weighting": -1.0}, "return_weighting=-1.0"),
    ({"data_placement": "disk"}, "data_placement=disk must be one of auto, device, host"),
    ({"writers": ("paper",)}, "writers=.*paper.* must be one of tensorboard, wandb"),
    ({"reference_scores": (1.0,)}, "reference_scores"),
    ({"env_kwargs": "[1]"}, "env_kwargs"),
    ({"env_kwargs": '{"a": 1}'}, "env_kwargs.* says nothing without an environment"),
    ({"action_low": (-1.0,)}, "action_high"),
    ({"num_processes": 2}, "num_processes=2 says nothing without"),
    ({"distributed": True, "num_processes": 2, "process_id": 2}, "process_id=2 must be below"),
    ({"distributed": True, "coordinator_address": "host"}, "HOST:PORT"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_useless_values_are_refused_in_one_line(changes, words):
    with pytest.raises(InputError, match=words) as error:
        resolve(**changes)
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300


@pytest.mark.parametrize(
    ("changes", "updates"),
    [
        ({"num_steps": 51}, 51),
        ({"num_steps": 50}, None),
        ({"num_steps": 51, "lr_decay_steps": 0}, None),
        (ONLINE | {"num_steps": 9}, 359),  # 9 on the data, 350 after the warm-up
    ],
)
def test_a_learning_rate_of_0_is_refused_before_the_run(changes, updates):
    settings = resolve(**{"lr_decay_steps": 50} | changes)
    if updates is None:
        build.check_rate(settings)
    else:
        with pytest.raises(InputError, match=f"would be 0 before the {updates} updates"):
            build.check_rate(settings)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("bc", ONLINE, "bc imitates its data and learns nothing from rewards"),
        ("one_call_edp", ONLINE, "imitates a teacher that stands still; train the teacher online"),
        ("td3_bc", ONLINE | {"online_starting_noise": 0.5}, "td3_bc has no starting_noise"),
        ("iql", ONLINE | {"online_candidates": 4}, "iql has no num_candidates"),
        ("edp_iql", {"eta": 0.5}, "edp_iql does not read eta.*edp_td3, edp_cql, diffusion_ql, td3"),
        ("edp_iql", {"sweep": {"eta": (0.5,)}}, "'sweep.eta': edp_iql does not read eta"),
        ("td3_bc", {"num_candidates": 3}, "td3_bc does not read num_candidates"),
        ("bc_diffusion", {"reward_scale": 2.0}, "bc_diffusion does not read reward_scale"),
        ("edp_td3", {"etta": 1.0}, "did you mean 'eta'"),
        ("edp_crr", {"crr_weight": "indicator", "crr_beta": 2.0}, "crr_beta=2.0 changes nothing"),
        ("edp_crr", {"crr_weight": "linear"}, "crr_weight=linear"),
        ("edp_iql", {"expectile": 1.5}, "expectile=1.5"),
        ("edp_cql", {"cql_threshold": float("nan")}, "cql_threshold=nan must be finite"),
        ("edp_cql", {"cql_threshold": -float("inf")}, "cql_threshold=-inf must be finite"),
        ("td4", {}, "'td4' is unknown: use one of edp, edp_td3"),
    ],
)
def test_what_a_learner_does_not_read_is_refused(name, changes, words):
    with pytest.raises(InputError, match=words) as error:
        resolve(name, **changes)
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="hopper-medium-v2"):
        resolve(task="hoper-medium-v2")


def test_a_setting_of_another_learner_is_named_as_such():
    with pytest.raises(InputError, match=r"edp_iql does not read eta \(edp_td3, .*td3_bc do\)"):
        algorithms.settings("edp_iql", eta=1.0)


@pytest.fixture
def without_rewards(monkeypatch):
    """The task "plain:", a format that reads a reward rule and has no rewards of its own."""

    def find(name: str) -> data.Task | None:
        return data.Task(name, "custom", "plain") if name.startswith("plain:") else None

    def read(request: Request) -> tuple[data.RawDataset, None]:
        zeros, ends, rule = np.zeros((5, 1), np.float32), np.arange(5) == 4, "stored"
        if request.layout.reward_rule != rule:
            rewards, terminals = rewards_by_rule(request.layout.reward_rule, ends)
            return data.RawDataset(zeros, zeros, rewards, terminals, ~ends & ends), None
        never = np.zeros(5, bool)
        return data.RawDataset(zeros, zeros, zeros[:, 0], never, ends, has_rewards=False), None

    reader = Reader("plain", "plain:", find, read, layout=("reward_rule",))
    monkeypatch.setitem(data.READERS, "plain", reader)


def test_learners_with_critics_refuse_data_without_rewards(without_rewards, tmp_path):
    def load(name: str, **changes) -> data.Dataset:
        config = configuration.make_config(name, "plain:", batch_size=2, **changes)
        return build.load_dataset(configuration.resolve(config), str(tmp_path), lambda line: None)

    assert load("bc").size == load("bc_diffusion").size == 4
    with pytest.raises(InputError, match="td3_bc learns from rewards, .*reward_rule=success_at_"):
        load("td3_bc")
    rewarded = load("td3_bc", reward_rule="step_cost").transitions
    assert rewarded.reward.tolist() == [-1] * 5 and rewarded.discount.tolist() == [1, 1, 1, 1, 0]
    with pytest.raises(InputError, match="observation_keys.* changes nothing"):
        load("bc", observation_keys=("state",))


def test_a_folder_means_the_same_in_every_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = configuration.resolve(configuration.make_config("bc", "lerobot:data/pick"))
    assert settings.config["task"] == f"lerobot:{tmp_path}/data/pick"
    assert settings.task.file_name == f"{tmp_path}/data/pick"
