"""Settings: what is checked, what is said about a wrong value, and what the learners start from."""

import dataclasses

import jax
import pytest
from flax import struct

from edp_jax import InputError, algorithms
from edp_jax.settings import Limits, check, describe, make, redefined, setting, traced_names


@struct.dataclass
class Group:
    rate: float = setting(0.5, "step size", above=0, at_most=1, traced=True)
    count: int = setting(2, "how many", at_least=1)
    flag: bool = setting(False, "whether")
    kind: str = setting("a", "which", one_of={"a": 1, "b": 2}, may_change=True)
    widths: tuple[int, ...] = setting((8,), "layers", at_least=1)
    names: tuple[str, ...] = setting((), "any values")
    offset: float = setting(0.0, "shift", traced=True, read_with={"kind": ("b",)})
    nothing: object = setting(None, "no value")


@struct.dataclass
class Variant(Group):
    rate: float = redefined(Group, "rate", 0.25)


ENTRIES = {entry.name: entry for entry in describe(Group)}


def test_a_setting_says_all_there_is_to_know():
    rate, kind, offset = ENTRIES["rate"], ENTRIES["kind"], ENTRIES["offset"]
    assert (rate.default, rate.meaning, rate.traced, rate.may_change) == (
        0.5,
        "step size",
        True,
        False,
    )
    assert rate.limits == Limits(above=0, at_most=1)
    assert kind.may_change and not kind.traced and kind.limits.one_of == ("a", "b")
    assert offset.read_with == {"kind": ("b",)} and rate.read_with == {}
    assert traced_names(Group) == ["rate", "offset"]
    assert list(ENTRIES) == [field.name for field in dataclasses.fields(Group)]
    assert jax.tree.leaves(Group()) == [0.5, 0.0]


def test_a_variant_has_another_default_and_the_same_limits():
    (rate, *_), (old, *_) = describe(Variant), describe(Group)
    assert rate == old._replace(default=0.25)
    assert Variant().rate == 0.25 and Variant().count == 2


def test_kinds_in_words():
    kinds = {name: entry.kind for name, entry in ENTRIES.items()}
    assert kinds["rate"] == "number" and kinds["count"] == "integer" and kinds["kind"] == "text"
    assert kinds["flag"] == "True or False" and kinds["widths"] == "values in parentheses"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", 1e-9),
        ("rate", 1),
        ("rate", 1.0),
        ("count", 1),
        ("count", 10**9),
        ("flag", True),
        ("kind", "b"),
        ("widths", (1, 2)),
        ("widths", [3]),
        ("widths", ()),
        ("names", ("x", "y")),
        ("offset", -7.5),
        ("nothing", None),
    ],
)
def test_values_that_fit(name, value):
    check(ENTRIES[name], value)
    made = make(Group, {name: value})
    default = ENTRIES[name].default
    kept = getattr(made, name)
    assert kept == (tuple(value) if isinstance(value, list) else value)
    if default is not None:
        assert type(kept) is type(default)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rate", 0, "rate=0 must be above 0 and at most 1: set it to such a value"),
        ("rate", 1.01, "rate=1.01 must be above 0 and at most 1"),
        ("rate", float("nan"), "rate=nan must be above 0 and at most 1"),
        ("rate", "0.5", "rate='0.5' must be number, as in rate=0.5"),
        ("rate", True, "rate=True must be number"),
        ("rate", None, "rate=None must be number"),
        ("rate", (0.5,), r"rate=\(0.5,\) must be number"),
        ("count", 0, "count=0 must be at least 1"),
        ("count", 2.0, "count=2.0 must be integer, as in count=2"),
        ("count", True, "count=True must be integer"),
        ("flag", 1, "flag=1 must be True or False"),
        ("flag", "False", "flag='False' must be True or False"),
        ("kind", "c", "kind=c must be one of a, b"),
        ("kind", 1, "kind=1 must be text"),
        ("widths", (8, 0), r"widths=\(8, 0\) must be at least 1"),
        ("widths", (8, 8.0), r"widths=\(8, 8.0\) must be values in parentheses"),
        ("widths", 8, "widths=8 must be values in parentheses"),
        ("offset", float("inf"), "offset=inf must be finite"),
        ("offset", float("nan"), "offset=nan must be finite"),
        ("offset", 1e39, r"offset=1e\+39 must be of 32 bits .0, or 1.18e-38 to 3.4e\+38 in"),
        ("offset", 10**400, "must be of 32 bits"),
        ("offset", -1e39, r"offset=-1e\+39 must be of 32 bits"),
        ("rate", 1e-45, "rate=1e-45 must be above 0 and at most 1 and of 32 bits"),
    ],
)
def test_values_that_do_not_fit(name, value, message):
    for refuse in (lambda: check(ENTRIES[name], value), lambda: make(Group, {name: value})):
        with pytest.raises(InputError, match=message) as refusal:
            refuse()
        assert "\n" not in str(refusal.value) and len(str(refusal.value)) <= 300
    with pytest.raises(InputError, match=f"^config.{name}="):
        check(ENTRIES[name], value, f"config.{name}")


def test_the_nearest_name_is_proposed():
    with pytest.raises(InputError, match="setting 'kount' is unknown here: did you mean 'count'"):
        make(Group, {"kount": 3})
    with pytest.raises(InputError, match="did you mean"):
        make(Group, {"zzz": 3})


# The defaults of the learners. Sources: EDP (2305.20081, section 5 and App. B) and, for the others,
# the paper that each is named after; edp_jax/configuration/published.py has the values per task.
EDP = dict(
    learning_rate=3e-4,
    lr_decay_steps=0,
    weight_decay=0.0,
    grad_clip=5.0,
    tau=0.005,
    ema_period=5,
    ema_start=1000,
    ema_share=0.0,
    hidden_dims=(256, 256, 256),
    activation="mish",
    discount=0.99,
    num_critics=2,
    num_target_critics=0,
    critic_layer_norm=False,
    num_backup_actions=1,
    schedule="vp",
    num_timesteps=1000,
    sampler="dpm_solver_3",
    sampler_calls=15,
    target_calls=0,
    sampler_dtype="float32",
    ddim_eta=0.0,
    starting_noise=1.0,
    likelihood="gaussian",
    num_candidates=10,
    selection_temperature=1.0,
    eta=1.0,
    crr_weight="exponential",
    crr_beta=1.0,
    crr_baseline="mean",
    num_baseline_actions=10,
    expectile=0.7,
    inverse_temperature=3.0,
    cql_alpha=5.0,
    cql_threshold=-2.4,
    num_cql_actions=10,
    backup="mean",
    pessimism=1.0,
    denoising_threshold=0.1,
    guidance_power=0.0,
    qsm_alpha=0.0,
    strength=0.5,
    trust_region=0.3,
    holdout=0.1,
)
FEED_FORWARD = dict(hidden_dims=(256, 256), activation="relu", grad_clip=0.0)
EVERY_UPDATE = FEED_FORWARD | dict(ema_period=1, ema_start=0)
DEFAULTS = {
    "edp_td3": {},
    "edp": dict(
        learning_rate=1e-3,
        tau=0.1,
        ema_share=0.2,
        discount=0.997,
        critic_layer_norm=True,
        starting_noise=-1.0,
    ),
    "edp_crr": {},
    "edp_iql": {},
    "idql": {},
    "edp_cql": {},
    "bc_diffusion": {},
    "edp_bcq": dict(
        num_backup_actions=10, sampler_calls=5, num_candidates=100, selection_temperature=0.0
    ),
    "diffusion_ql": dict(num_timesteps=5, sampler="ddpm", sampler_calls=5, num_candidates=50),
    "dac": dict(
        num_timesteps=5,
        sampler="ddpm",
        sampler_calls=5,
        num_critics=10,
        num_backup_actions=10,
        selection_temperature=0.0,
        grad_clip=1.0,
    ),
    "td3_bc": FEED_FORWARD | dict(eta=2.5),
    "crr": EVERY_UPDATE,
    "iql": EVERY_UPDATE | dict(ema_start=2**31 - 1),
    "bc": EVERY_UPDATE,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_of_the_learners(name):
    found = dataclasses.asdict(algorithms.settings(name))
    published = EDP | DEFAULTS[name]
    assert found == {key: published[key] for key in found}


# name -> values at its limits and just beyond them; learners that have a setting have the same.
LIMITS = {
    "learning_rate": ([1e-9], [0.0]),
    "lr_decay_steps": ([0], [-1]),
    "weight_decay": ([0.0], [-0.1]),
    "grad_clip": ([0.0], [-0.1]),
    "tau": ([1e-9, 1.0], [0.0, 1.1]),
    "ema_period": ([1], [0]),
    "ema_start": ([0], [-1]),
    "ema_share": ([0.0, 1.0], [-0.1, 1.1]),
    "hidden_dims": ([(1,)], [(0,)]),
    "activation": (["relu", "gelu", "silu", "mish"], ["tanh"]),
    "discount": ([0.0, 1.0], [-0.1, 1.1]),
    "num_critics": ([1], [0]),
    "num_target_critics": ([0], [-1]),
    "num_backup_actions": ([1], [0]),
    "schedule": (["vp", "linear", "cosine"], ["quadratic"]),
    "num_timesteps": ([1], [0]),
    "sampler": (["ddpm", "dpm_solver_1"], ["euler"]),
    "sampler_calls": ([1], [0]),
    "target_calls": ([0, 1, 10_000], [-1, 10_001]),
    "sampler_dtype": (["float32", "bfloat16"], ["float16"]),
    "ddim_eta": ([0.0, 1.0], [-0.1, 1.1]),
    "starting_noise": ([0.0], [-0.1]),
    "likelihood": (["gaussian", "learned_std", "elbo", "noise"], ["exact"]),
    "num_candidates": ([1], [0]),
    "selection_temperature": ([0.0], [-0.1]),
    "eta": ([0.0], [-0.1]),
    "crr_weight": (["exponential", "indicator", "softmax"], ["linear"]),
    "crr_beta": ([1e-9], [0.0]),
    "crr_baseline": (["mean", "max"], ["median"]),
    "num_baseline_actions": ([1], [0]),
    "expectile": ([0.0, 1.0], [-0.1, 1.1]),
    "inverse_temperature": ([1e-9], [0.0]),
    "cql_alpha": ([0.0], [-0.1]),
    "cql_threshold": ([-1e9, 1e9], [float("-inf")]),
    "num_cql_actions": ([1], [0]),
    "backup": (["mean", "max"], ["min"]),
    "pessimism": ([0.0], [-0.1]),
    "denoising_threshold": ([1e-9], [0.0]),
    "guidance_power": ([0.0], [-0.1]),
    "qsm_alpha": ([0.0], [-0.1]),
    "strength": ([0.0], [-0.1]),
    "trust_region": ([0.0], [-0.1]),
    "holdout": ([0.0, 0.5], [-0.1, 0.6]),
    "critic_layer_norm": ([True], [0]),
}
LIMITS_OF = {("edp", "starting_noise"): ([-1.0, 0.0], [-1.1])}  # -1: it chooses


@pytest.mark.parametrize("key", LIMITS)
def test_limits_of_the_learners_settings(key):
    owners = [name for name in DEFAULTS if hasattr(algorithms.settings(name), key)]
    assert owners
    for name in owners:
        allowed, refused = LIMITS_OF.get((name, key), LIMITS[key])
        for value in allowed:
            assert getattr(algorithms.settings(name, **{key: value}), key) == value
        for value in refused:
            with pytest.raises(InputError, match=f"{key}="):
                algorithms.settings(name, **{key: value})


def test_what_can_be_swept_or_changed_later():
    entries = [entry for name in DEFAULTS for entry in describe(algorithms.find(name).settings)]
    assert {entry.name for entry in entries} == set(LIMITS)
    assert {entry.name for entry in entries if entry.traced} == {
        "learning_rate",
        "weight_decay",
        "grad_clip",
        "tau",
        "discount",
        "eta",
        "crr_beta",
        "expectile",
        "inverse_temperature",
        "cql_alpha",
        "cql_threshold",
        "pessimism",
        "denoising_threshold",
        "strength",
        "trust_region",
    }
    may_change = {entry.name for entry in entries if entry.may_change}
    assert may_change == {"num_candidates", "selection_temperature", "starting_noise"}
    conditions = {(entry.name, *entry.read_with) for entry in entries if entry.read_with}
    assert conditions == {
        ("ddim_eta", "sampler"),
        ("selection_temperature", "num_candidates"),
        ("crr_beta", "crr_weight"),
        ("denoising_threshold", "qsm_alpha"),
    }
    with_candidates = {entry.name: entry.read_with for entry in entries}["selection_temperature"]
    assert 1 not in with_candidates["num_candidates"] and 2 in with_candidates["num_candidates"]
    assert 10**6 in with_candidates["num_candidates"]
