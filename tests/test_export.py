"""The deployed policy acts as the trained one does."""

import json
import os
import pathlib

import hypothesis
import hypothesis.extra.numpy
import jax
import numpy as np
import pytest

import edp_jax
from edp_jax import InputError, TaskSpec, Units, acting, algorithms
from edp_jax.export import PolicyFile, make_program, save_policy, with_ways

SPEC = TaskSpec(3, 2)
SETTINGS = algorithms.settings("edp_td3", hidden_dims=(16, 16), num_timesteps=10, sampler_calls=3)
ALGORITHM = algorithms.make("edp_td3", SETTINGS, SPEC)
MEAN, STD = np.array([1.0, -2.0, 0.5], np.float32), np.array([2.0, 0.5, 1.0], np.float32)
LOW, HIGH = np.array([-1.0, 10.0], np.float32), np.array([1.0, 30.0], np.float32)
UNITS = Units(MEAN, STD, LOW, HIGH)


def params_of(algorithm, seeds):
    """Parameters of untrained policies, leaves [R, ...]."""
    params = [algorithm.policy_params(algorithm.init(jax.random.key(seed))) for seed in seeds]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *params)


@pytest.fixture
def saved(tmp_path):
    folder, params = str(tmp_path / "policy"), params_of(ALGORITHM, (4, 9))
    members = ({"seed": 4}, {"seed": 9})
    save_policy(folder, PolicyFile("edp_td3", SETTINGS, SPEC, members, UNITS), params)
    return folder, params


@pytest.mark.parametrize(("seed", "index"), [(None, 0), (4, 0), (9, 1)])
def test_a_loaded_policy_acts_as_its_seed_does_in_the_units_of_the_data(saved, seed, index):
    """Normalised observations go in; actions come out around the box's centre (0, 20)."""
    folder, params = saved
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    key = jax.random.key(3)
    own = jax.tree.map(lambda leaf: leaf[index], params)
    action = ALGORITHM.act(own, (observation - MEAN) / STD, key)
    expected = np.array([0.0, 20.0]) + np.array([1.0, 10.0]) * action
    loaded = edp_jax.load_policy(folder, seed)
    np.testing.assert_allclose(loaded(observation, key), expected, atol=1e-4)
    assert (loaded.observation_dim, loaded.action_dim) == (3, 2)


def test_without_a_key_the_same_observation_has_the_same_action(saved):
    """In any row of any batch, and in another process; another seed of the noise has others."""
    policy = edp_jax.load_policy(saved[0])
    first, second = policy(np.zeros(3)), policy(np.zeros(3))
    assert first.shape == (2,)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(edp_jax.load_policy(saved[0])(np.zeros(3)), first)
    np.testing.assert_allclose(policy(np.zeros((4, 3))), [first] * 4, atol=1e-5)
    assert not np.allclose(edp_jax.load_policy(saved[0], noise_seed=1)(np.zeros(3)), first)


def test_the_rows_of_a_batch_draw_each_for_themselves_from_a_key(saved):
    policy, key = edp_jax.load_policy(saved[0]), jax.random.key(0)
    actions = policy(np.zeros((4, 3)), key)
    assert len(np.unique(actions, axis=0)) > 1
    np.testing.assert_array_equal(policy(np.zeros((4, 3)), key), actions)


def test_what_cannot_be_loaded_or_fed_is_refused(saved, tmp_path):
    with pytest.raises(InputError, match="nowhere': no such folder"):
        edp_jax.load_policy(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no policy.json"):
        edp_jax.load_policy(tmp_path / "empty")
    with pytest.raises(InputError, match="policy seed=5 .* seed=4; seed=9"):
        edp_jax.load_policy(saved[0], 5)
    with pytest.raises(InputError, match=r"\(4,\) does not fit.*\(3,\)"):
        edp_jax.load_policy(saved[0])(np.zeros(4))


def test_a_policy_acts_alike_in_a_process_that_computes_in_float64(saved):
    """Its parameters are no damage there, and what it draws from a key stays float32."""
    observation, key = np.ones(3), jax.random.key(3)
    way = {"sampler_calls": 1, "num_candidates": 1}
    plain = edp_jax.load_policy(saved[0], **way)
    expected = plain(observation), plain(observation, key)
    shapes = {"noise": (2, 4), "step_noise": (3, 2, 4), "choice_noise": (2,)}
    with jax.enable_x64(True):
        policy = edp_jax.load_policy(saved[0], **way)
        found = policy(observation), policy(observation, key)
        numbers = acting.draw(shapes, key, (1,))
    assert [numbers[name].dtype for name in shapes] == 3 * [np.float32]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_devices_that_are_not_there_are_no_damage(saved, monkeypatch):
    def missing():
        raise AssertionError

    monkeypatch.setattr(jax, "devices", missing)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(InputError, match="JAX_PLATFORMS=cuda: JAX cannot use that here"):
        edp_jax.load_policy(saved[0])


def test_a_policy_of_an_older_version_is_refused_in_one_line(saved):
    """The old version wrote no number of its format."""
    path = f"{saved[0]}/policy.json"
    with open(path, encoding="utf-8") as file:
        described = json.load(file)
    del described["format"]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(described, file)
    with pytest.raises(InputError, match="another version of edp_jax .format 1, not 2.") as error:
        edp_jax.load_policy(saved[0])
    assert "\n" not in str(error.value)


def test_a_policy_of_a_sweep_is_found_by_its_settings(tmp_path):
    settings = algorithms.settings("bc", hidden_dims=(8,))
    algorithm = algorithms.make("bc", settings, SPEC)
    folder, members = str(tmp_path / "policy"), ({"seed": 4, "tau": 0.1}, {"seed": 4, "tau": 0.5})
    file = PolicyFile("bc", settings, SPEC, members, UNITS)
    save_policy(folder, file, params_of(algorithm, (4, 5)))
    named = [{}, {"seed": 4, "tau": 0.1}, {"tau": 0.5}]
    first, again, second = (edp_jax.load_policy(folder, **which) for which in named)
    observation = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_array_equal(first(observation), again(observation))
    assert not np.array_equal(first(observation), second(observation))
    with pytest.raises(InputError, match="tau=0.3 .* seed=4, tau=0.1; seed=4, tau=0.5"):
        edp_jax.load_policy(folder, tau=0.3)


class OnAnotherDevice:
    """As an array of another library that cannot be read from here."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("use .cpu() first")


@pytest.mark.parametrize(
    ("observation", "says"),
    [
        ([np.nan, 0, 0], r"observation\[0\] is nan, not a finite number"),
        ([[0, 0, 0], [0, -np.inf, 0]], r"observation\[1, 1\] is -inf"),
        ([1e300, 0, 0], r"observation\[0\] is 1e\+300, more than float32 holds"),
        (np.ma.array(np.zeros(3), mask=[False, True, False]), "numbers of it are masked"),
        (OnAnotherDevice(), "no array of numbers .use .cpu"),
        ((np.zeros(3), {}), "a tuple .observation, info., as env.reset"),
        ((np.zeros(3), {"a": 1}), "pass its first part"),
        ({"state": np.zeros(3)}, "no array of numbers"),
        (["a", "b", "c"], "no array of numbers"),
        ([[0, 0, 0], [0, 0]], "no array of numbers"),
        (np.zeros(3, complex), "no array of numbers"),
        (None, "no array of numbers"),
        (0.0, r"shape \(\) does not fit"),
        (np.zeros((3, 1)), r"shape \(3, 1\) does not fit"),
    ],
)
def test_an_observation_that_is_none_is_refused(saved, observation, says):
    with pytest.raises(InputError, match=says) as refusal:
        edp_jax.load_policy(str(saved[0]))(observation)
    assert len(str(refusal.value)) <= 300 and "\n" not in str(refusal.value)


def _edit(change):
    def damage(folder):
        path = folder / "policy.json"
        described = json.loads(path.read_text())
        change(described)
        path.write_text(json.dumps(described))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "policy.json").write_text(""),
        lambda folder: (folder / "policy.json").write_text("[]"),
        lambda folder: (folder / "policy.json").write_bytes(b"\xff\xfe\0"),
        lambda folder: (folder / "params.npz").unlink(),
        lambda folder: os.truncate(folder / "params.npz", 2000),
        lambda folder: os.truncate(folder / "params.npz", 0),
        lambda folder: np.savez(folder / "params.npz", other=np.zeros(3)),
        _edit(lambda described: described["config"].update(a_later_setting=1)),
        _edit(lambda described: described.update(algorithm="a_later_learner")),
        _edit(lambda described: described.pop("members")),
        _edit(lambda described: described["config"].update(hidden_dims=[8, 9])),
        _edit(lambda described: described["spec"].update(observation_dim=4)),
    ],
)
def test_a_damaged_folder_is_one_line(saved, damage):
    damage(pathlib.Path(saved[0]))
    with pytest.raises(InputError, match="policy '") as refusal:
        edp_jax.load_policy(str(saved[0]))
    assert str(saved[0]) in str(refusal.value) and "\n" not in str(refusal.value)


def rewrite(folder, change) -> None:
    """Changes the arrays of params.npz."""
    path = pathlib.Path(folder) / "params.npz"
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)


NAME = "params/actor/MLP_0/Dense_0/bias"  # [R, 16]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_policy_with_a_number_that_is_not_finite_is_refused_and_others_act(saved, bad):
    rewrite(saved[0], lambda arrays: arrays[NAME].__setitem__((1, 3), bad))
    with pytest.raises(InputError, match=f"{NAME} is NaN or infinite"):
        edp_jax.load_policy(saved[0], 9)
    assert np.isfinite(edp_jax.load_policy(saved[0], 4)(np.zeros(3))).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.update({NAME: a[NAME][:, :15]}), r"bias is float32\[15\], not float32\[16\]"),
        (lambda a: a.update({NAME: a[NAME][:1]}), "not the parameters of 2 members"),
        (lambda a: a.update({NAME: a[NAME].astype("f8")}), "bias is float64"),
        (lambda a: a.update({NAME: a[NAME].astype("S")}), "bias is .S"),
        (lambda a: a.update({"params/more": np.zeros(2)}), "more' is missing, or there without"),
        (lambda a: a.pop(NAME), "bias' is missing, or there without being wanted"),
        (lambda a: a.update({"units/action_low": np.zeros(3, "f4")}), "action_low is float32.3."),
        (lambda a: a.pop("units/action_low"), "action_low"),
    ],
)
def test_arrays_of_other_names_sizes_or_types_are_refused(saved, change, says):
    """Some of them would act all the same: broadcast, or as another member."""
    rewrite(saved[0], change)
    with pytest.raises(InputError, match=f"damaged, or of another version .*{says}"):
        edp_jax.load_policy(saved[0])


@pytest.mark.parametrize("members", [["x", "y"], [{"seed": "4"}, {"seed": []}], 3, [{"seed": 4}]])
def test_members_that_are_none_are_refused(saved, members):
    _edit(lambda described: described.update(members=members))(pathlib.Path(saved[0]))
    with pytest.raises(InputError, match="damaged, or of another version"):
        edp_jax.load_policy(saved[0])


def test_settings_that_would_take_all_memory_are_refused(saved):
    change = _edit(lambda described: described["config"].update(num_timesteps=10**12))
    change(pathlib.Path(saved[0]))
    with pytest.raises(InputError, match="num_timesteps=1000000000000 must be at least 1 and at m"):
        edp_jax.load_policy(saved[0])


def test_a_pipe_in_place_of_the_arrays_does_not_wait_for_ever(saved):
    path = pathlib.Path(saved[0]) / "params.npz"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="there is no params.npz"):
        edp_jax.load_policy(saved[0])


def test_a_policy_whose_training_diverged_is_refused_by_name(saved):
    folder, members = pathlib.Path(saved[0]), 2
    _edit(lambda described: described.update(diverged=[120, -1]))(folder)
    described = json.loads((folder / "policy.json").read_text())["members"]
    assert len(described) == members
    first, second = (member["seed"] for member in described)
    with pytest.raises(InputError, match=f"seed {first}.* diverged in update 120"):
        edp_jax.load_policy(folder, first)
    chosen, default = edp_jax.load_policy(folder, second), edp_jax.load_policy(folder)
    np.testing.assert_array_equal(chosen(np.zeros(3)), default(np.zeros(3)))


@pytest.fixture
def of_chunks(tmp_path):
    """save(execute): a policy that chooses three actions together; its folder."""
    settings, spec = algorithms.settings("bc", hidden_dims=(8,)), TaskSpec(3, 2, 3)
    algorithm = algorithms.make("bc", settings, spec)
    params = params_of(algorithm, (4,))

    def save(execute):
        folder = str(tmp_path / "policy")
        save_policy(
            folder, PolicyFile("bc", settings, spec, ({"seed": 4},), UNITS, execute), params
        )
        return folder

    return algorithm, params, save


@pytest.mark.parametrize(("execute", "count"), [(2, 2), (1, 1), (None, 3)])
def test_a_policy_of_chunks_gives_the_actions_to_take_in_turn(of_chunks, execute, count):
    algorithm, params, save = of_chunks
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    own, key = jax.tree.map(lambda leaf: leaf[0], params), jax.random.key(0)
    chunk = np.asarray(algorithm.act(own, (observation - MEAN) / STD, key)).reshape(5, 3, 2)
    expected = (np.array([0.0, 20.0]) + np.array([1.0, 10.0]) * chunk)[:, :count]
    policy = edp_jax.load_policy(save(execute))
    assert (policy.action_dim, policy.horizon, policy.execute) == (2, 3, count)
    np.testing.assert_allclose(policy(observation), expected, atol=1e-4)
    np.testing.assert_allclose(policy(observation[1]), expected[1], atol=1e-4)


def test_more_actions_than_a_chunk_has_are_damage(of_chunks):
    with pytest.raises(InputError, match="damaged.*execute is 4, horizon 3"):
        edp_jax.load_policy(of_chunks[2](4))


def test_ways_of_acting_can_be_set_at_loading(saved):
    """One candidate is what that learner gives; without noise to start from no key matters."""
    observation, key = np.array([0.3, -0.2, 0.1]), jax.random.key(1)
    few = edp_jax.load_policy(saved[0], num_candidates=1, sampler_calls=2, starting_noise=0.5)
    settings = algorithms.settings(
        "edp_td3",
        **{"hidden_dims": (16, 16), "num_timesteps": 10, "sampler_calls": 2},
        **{"num_candidates": 1, "starting_noise": 0.5},
    )
    act = algorithms.make("edp_td3", settings, SPEC).act
    own = jax.tree.map(lambda leaf: leaf[0], saved[1])
    expected = UNITS.unscale(act(own, UNITS.normalize(observation[None]), key))
    np.testing.assert_allclose(few(observation[None], key), expected, atol=1e-4)
    assert few.interface.random_numbers == {"noise": (1, 2)}


def test_a_loaded_policy_chooses_by_critics_with_layer_norm(tmp_path):
    """LayerNorm subtracts the mean of a layer. A layer of one unit becomes 0, so all actions have
    the same Q, and the first sample acts."""
    sizes = {"hidden_dims": (1,), "num_timesteps": 10, "sampler_calls": 1}
    settings = algorithms.settings("edp", starting_noise=0.0, num_candidates=2, **sizes)
    folder, params = str(tmp_path), params_of(algorithms.make("edp", settings, SPEC), (4,))
    params["actor"]["choosy"] = np.ones(1, bool)
    save_policy(folder, PolicyFile("edp", settings, SPEC, ({"seed": 4},), UNITS), params)
    judged = edp_jax.load_policy(folder).act_with_confidence(np.zeros(3))
    alone = edp_jax.load_policy(folder, num_candidates=1)(np.zeros(3))
    np.testing.assert_allclose(judged.action, alone, atol=1e-5)
    np.testing.assert_allclose([judged.value, judged.disagreement], 0.0, atol=1e-6)


def test_a_starting_noise_that_was_chosen_is_told_and_cannot_be_chosen_afterwards():
    settings = algorithms.settings("edp", num_timesteps=10, sampler_calls=3)
    file = PolicyFile("edp", settings, SPEC, ({"seed": 0},), UNITS)
    params = {"actor": {"noise_scale": np.float32(0.1), "choosy": np.bool_(False)}}
    for ways, told in (({}, 0.1), ({"starting_noise": -1.0}, 0.1), ({"starting_noise": 0.5}, 0.5)):
        assert make_program(file, params, ways).acting["starting_noise"] == told
    fixed = with_ways(file, {"starting_noise": 0.3})
    with pytest.raises(InputError, match="-1: the policy was saved with 0.3 and has chosen none"):
        make_program(fixed, params, {"starting_noise": -1.0})


@pytest.mark.parametrize(("choosy", "samples"), [(True, 10), (False, 1)])
def test_a_policy_whose_critics_do_not_choose_draws_one_sample(choosy, samples):
    settings = algorithms.settings("edp", num_timesteps=10, sampler_calls=3)
    file = PolicyFile("edp", settings, SPEC, ({"seed": 0},), UNITS)
    params = {"actor": {"noise_scale": np.float32(0.1), "choosy": np.bool_(choosy)}}
    for ways, count in (({}, samples), ({"num_candidates": 3}, 3), ({"num_candidates": 1}, 1)):
        program = make_program(file, params, ways)
        assert program.acting["num_candidates"] == count
        assert program.interface.random_numbers["noise"] == (count, SPEC.action_dim)
        expected = 0.2 if choosy and count > 1 else 0.1
        assert program.acting["starting_noise"] == expected


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ({"num_candidates": 0}, "num_candidates=0 must be at least 1"),
        ({"num_candidates": 2.5}, "num_candidates=2.5 must be integer"),
        ({"num_candidates": (1, 2)}, "num_candidates=.1, 2. must be"),
        ({"sampler_calls": 11}, "sampler_calls=11 is outside 1..10"),
        ({"starting_noise": float("nan")}, "starting_noise=nan must be at least 0 and finite"),
        ({"selection_temperature": "1"}, "selection_temperature='1' must be number"),
        ({"execute": 2}, "execute=2: the policy chooses single actions; leave it out"),
        ({"on_invalid": "ignore"}, "on_invalid='ignore' is unknown: use one of raise, hold"),
        ({"noise_seed": -1}, "noise_seed=-1 must be an integer from 0"),
        ({"sampler_call": 5}, "sampler_call=5: .* did you mean sampler_calls"),
        ({"eta": 0.5}, "eta=0.5: .* has not swept it; help"),
        ({"compilation_cache": 3}, "compilation_cache=3: no path"),
    ],
)
def test_ways_of_no_use_are_refused(saved, way, says):
    with pytest.raises(InputError, match=says) as refusal:
        edp_jax.load_policy(saved[0], **way)
    assert len(str(refusal.value)) <= 300 and "\n" not in str(refusal.value)


def test_the_folder_of_a_run_is_taken_for_its_policy(saved):
    run = pathlib.Path(saved[0]).parent
    assert run.name != "policy"
    np.testing.assert_array_equal(
        edp_jax.load_policy(run)(np.zeros(3)), edp_jax.load_policy(saved[0])(np.zeros(3))
    )


def test_an_invalid_observation_holds_the_last_valid_action(saved):
    policy = edp_jax.load_policy(saved[0], on_invalid="hold")
    with pytest.raises(InputError, match="observation.1. is nan"):
        policy([0.0, np.nan, 0.0])  # there is none yet
    first = policy([0.5, -2.0, 0.5])
    invalid = ([0.0, np.nan, 0.0], (np.zeros(3), {}), np.zeros(4), None, OnAnotherDevice())
    for count, bad in enumerate(invalid, 1):
        np.testing.assert_array_equal(policy(bad), first)
        assert policy.held == count and policy.problem.startswith("observation")
    with pytest.raises(InputError, match="observation.0, 1. is nan"):
        policy([[0.0, np.nan, 0.0]])  # two axes are due
    policy([2.5, -1.0, 0.5])
    assert (policy.held, policy.problem) == (0, "")


@pytest.mark.parametrize(
    "key", [0, "a", np.random.default_rng(0), [0, 1], jax.random.split(jax.random.key(0), 3)]
)
def test_what_is_no_key_is_refused_also_while_observations_are_held(saved, key):
    policy = edp_jax.load_policy(saved[0], on_invalid="hold")
    policy(np.zeros(3))
    for call in (policy, policy.act_with_confidence):
        with pytest.raises(InputError, match="key: .* is not a single random key"):
            call(np.zeros(3), key)


def test_keys_of_both_kinds_draw_the_same_numbers(saved):
    policy = edp_jax.load_policy(saved[0])
    typed, plain = (make(5) for make in (jax.random.key, jax.random.PRNGKey))
    np.testing.assert_array_equal(policy(np.ones(3), typed), policy(np.ones(3), plain))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "a", True, (2, 2)])
def test_a_batch_that_cannot_be_is_not_warmed_up(saved, batch_size):
    with pytest.raises(InputError, match="batch_size=.* must be an integer of at least 1"):
        edp_jax.load_policy(saved[0]).warm_up(batch_size)


def test_numbers_of_numpy_are_numbers(saved):
    policy = edp_jax.load_policy(saved[0], np.int64(9), noise_seed=np.int64(3))
    plain = edp_jax.load_policy(saved[0], 9, noise_seed=3)
    np.testing.assert_array_equal(policy(np.ones(3)), plain(np.ones(3)))


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        (3, {}, "policy 3: no path"),
        (None, {}, "policy None: no path"),
        (".", {"on_invald": "hold"}, "on_invald='hold': .* did you mean on_invalid"),
        (".", {"seed": [0, 1]}, "a swept setting is given as a number"),
        ("policy.zip", {}, "must end in .edp or .onnx"),
        ("POLICY.EDP", {}, "must end in .edp or .onnx"),
    ],
)
def test_what_names_no_policy_is_refused(tmp_path, monkeypatch, path, options, says):
    monkeypatch.chdir(tmp_path)
    for name in ("policy.zip", "POLICY.EDP"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=says):
        edp_jax.load_policy(path, **options)


def test_what_was_held_cannot_be_changed_from_outside(saved):
    policy = edp_jax.load_policy(saved[0], on_invalid="hold")
    first = policy(np.zeros(3))
    expected = first.copy()
    first[:] = 77
    policy(None)[:] = 77
    np.testing.assert_array_equal(policy(None), expected)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    hypothesis.extra.numpy.arrays(
        np.float32, (4, 3), elements=hypothesis.strategies.floats(-1e6, 1e6, width=32)
    ),
    hypothesis.strategies.integers(0, 2**31),
)
def test_actions_are_inside_the_box(odd_box, observation, seed):
    """In float32 the middle of this box plus and minus its half is -9.699999 and -9.800001."""
    policy, low, high = odd_box
    action = policy(observation, jax.random.key(seed))
    assert np.all((low <= action) & (action <= high))


@pytest.fixture(scope="module")
def odd_box(tmp_path_factory):
    """A policy with a box whose middle float32 does not have; the ends of the box."""
    folder = str(tmp_path_factory.mktemp("odd") / "policy")
    low, high = np.array([-9.9, -9.8], np.float32), np.array([-9.7, -9.6], np.float32)
    members, units = ({"seed": 4},), Units(MEAN, STD, low, high)
    params = params_of(ALGORITHM, (4,))
    save_policy(folder, PolicyFile("edp_td3", SETTINGS, SPEC, members, units), params)
    return edp_jax.load_policy(folder), low, high
