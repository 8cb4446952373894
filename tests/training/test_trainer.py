"""Training: members do not see each other, one compilation serves all calls, nothing is lost."""

import dataclasses

import jax
import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.algorithms.base import batch_key
from edp_jax.training import sharding
from edp_jax.training.batches import draw_rows
from edp_jax.training.trainer import Trainer
from edp_jax.types import unpack


@pytest.fixture(scope="module")
def make_trainer(tiny_learner, tiny_rows):
    """make_trainer(seeds, learner=..., **options); trainers of one description are shared."""
    trainers = {}

    def make(seeds, learner=None, **options):
        if learner is not None:
            return Trainer(learner, tiny_rows(), seeds=seeds, batch_size=8, **options)
        key = seeds, str(options)
        trainers.setdefault(
            key, Trainer(tiny_learner(), tiny_rows(), seeds=seeds, batch_size=8, **options)
        )
        return trainers[key]

    return make


def train(trainer, *lengths):
    """The state after calls of these lengths, and the metrics of the last."""
    state, metrics = trainer.init(), {}
    for length in lengths:
        state, metrics = trainer.train(state, length)
    return state, metrics


def leaves(state) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.networks)]


def test_an_update_is_the_learners_own_on_the_rows_that_the_members_key_draws(
    make_trainer, tiny_learner, tiny_rows
):
    learner, dataset = tiny_learner(), tiny_rows()
    trained = leaves(train(make_trainer((5,)), 3)[0])
    state = jax.jit(learner.init)(jax.random.key(5))
    for _ in range(3):
        rows = draw_rows(batch_key(state, state.step), 8, 40, None)
        batch = unpack(dataset.rows[np.asarray(rows)], dataset.spec)
        state, _ = jax.jit(learner.update_step)(state, batch, learner.settings)
    for ours, expected in zip(trained, leaves(state), strict=True):
        np.testing.assert_allclose(ours[0], expected, rtol=1e-4, atol=1e-6)


def test_seeds_trained_together_equal_seeds_trained_alone(make_trainer):
    together = leaves(train(make_trainer((5, 7)), 6)[0])
    for index, seed in enumerate((5, 7)):
        alone = leaves(train(make_trainer((seed,)), 6)[0])
        for both, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(both[index], one[0], rtol=1e-4, atol=1e-6)


def test_seeds_differ_and_a_seed_repeats_itself(make_trainer):
    first, again, other = (leaves(train(make_trainer((s,)), 4)[0]) for s in (5, 5, 7))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_how_a_training_is_cut_into_calls_does_not_matter(make_trainer):
    whole, parts = (train(make_trainer((5, 7)), *lengths)[0] for lengths in ((7,), (2, 1, 4)))
    assert whole.step.tolist() == [7, 7]
    for a, b in zip(leaves(whole), leaves(parts), strict=True):
        np.testing.assert_array_equal(a, b)


def test_drawing_for_several_updates_at_once_changes_nothing(make_trainer, tiny_learner):
    """Blocks of five updates share a sampling chain; against the same updates one by one."""
    learner = tiny_learner(ema_period=5, ema_start=4)
    assert learner.draws_ahead == 5
    one_by_one = learner._replace(draws_ahead=1)
    states = [train(make_trainer((3,), learner=each), 3, 9)[0] for each in (learner, one_by_one)]
    for ahead, alone in zip(*map(leaves, states), strict=True):
        np.testing.assert_allclose(ahead, alone, rtol=1e-4, atol=1e-6)


def test_metrics_are_means_over_the_updates_of_a_call(make_trainer):
    trainer = make_trainer((5,))
    whole = train(trainer, 3)[1]
    singles = [train(trainer, *([1] * count))[1] for count in (1, 2, 3)]
    for name, value in whole.items():
        mean = np.mean([metrics[name] for metrics in singles], axis=0)
        np.testing.assert_allclose(value, mean, rtol=1e-5, atol=1e-6)


def test_calls_of_any_length_share_one_compilation_and_send_nothing_unasked(make_trainer, caplog):
    trainer = make_trainer((0, 1))
    with jax.log_compiles():
        state, _ = trainer.train(trainer.init(), 2)
        assert "Compiling" in caplog.text
        caplog.clear()
        with jax.transfer_guard("disallow"):
            for length in (5, 3):
                state, _ = trainer.train(state, length)
        assert "Compiling" not in caplog.text
    assert state.step.tolist() == [10, 10]


def test_a_member_that_diverges_stops_and_the_others_go_on_bit_for_bit(make_trainer):
    """A step of 1e30 makes the second member's losses infinite within a few updates."""
    broken, sound = (
        make_trainer((5,), sweep={"learning_rate": (3e-4, second)}) for second in (1e30, 3e-4)
    )
    untrained = leaves(broken.init())
    state, metrics = train(broken, 4)
    first = int(state.diverged[1])
    assert state.diverged[0] == -1 and 1 <= first <= 4 and state.step.tolist() == [4, 4]
    assert not np.isfinite([value[1] for value in metrics.values()]).all()
    assert np.isfinite([value[0] for value in metrics.values()]).all()
    state, metrics = broken.train(state, 2)
    assert state.diverged.tolist() == [-1, first] and state.step.tolist() == [6, 6]
    assert np.isnan([value[1] for value in metrics.values()]).all()
    others, expected = train(sound, 4, 2)
    for ours, other, before in zip(leaves(state), leaves(others), untrained, strict=True):
        np.testing.assert_array_equal(ours[0], other[0])
        np.testing.assert_array_equal(ours[1], before[1])  # as before the call in which it did
    assert all(metrics[name][0] == expected[name][0] for name in metrics)
    assert others.diverged.tolist() == [-1, -1]


def test_a_parameter_that_is_not_finite_is_divergence_too(make_trainer):
    trainer = make_trainer((5,), sweep={"learning_rate": (3e-4, 3e-4)})
    state = trainer.init()
    network = state.networks["critic"]
    target = jax.tree.map(lambda leaf: leaf.at[1].set(np.inf), network.target_params)
    networks = state.networks | {"critic": dataclasses.replace(network, target_params=target)}
    state, _ = trainer.train(dataclasses.replace(state, networks=networks), 1)
    assert state.diverged.tolist() == [-1, 1]


def test_the_given_state_is_used_up(make_trainer):
    trainer = make_trainer((5,))
    state = trainer.init()
    trainer.train(state, 1)
    assert jax.tree.leaves(state.networks)[0].is_deleted()


def test_eight_seeds_on_eight_devices_need_no_collectives(make_trainer):
    if len(jax.devices()) < 8:
        pytest.skip("needs XLA_FLAGS=--xla_force_host_platform_device_count=8")
    trainer = make_trainer(tuple(range(8)))
    state = trainer.init()
    assert len(state.step.sharding.device_set) == 8
    program = trainer.lower(state).compile().as_text()
    collectives = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    assert not [collective for collective in collectives if collective in program]
    assert len(trainer.train(state, 3)[0].step.sharding.device_set) == 8


def test_a_point_of_a_sweep_equals_a_training_of_its_own(make_trainer, tiny_learner):
    """Two seeds at two values of eta and one of tau, against those seeds without a sweep."""
    swept = make_trainer((5, 7), sweep={"eta": (0.0, 50.0), "tau": (0.5,)})
    assert [member.columns for member in swept.members] == [
        {"seed": seed, "eta": eta, "tau": 0.5} for eta in (0.0, 50.0) for seed in (5, 7)
    ]
    state, metrics = train(swept, 6)
    for first in (0, 2):  # the two seeds at one point
        learner = tiny_learner(**dict(swept.members[first].point))
        alone = train(make_trainer((5, 7), learner=learner), 6)[0]
        for all_points, one_point in zip(leaves(state), leaves(alone), strict=True):
            of_point = all_points[first : first + 2]
            np.testing.assert_allclose(of_point, one_point, rtol=1e-4, atol=1e-6)
    loss = metrics["actor/loss"]
    assert loss.shape == (4,) and not np.allclose(loss[:2], loss[2:])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sweep": {"expectile": (0.7,)}}, "sweep over 'expectile': this learner cannot sweep it"),
        ({"sweep": {"hidden_dims": (8,)}}, "use one of learning_rate, weight_decay"),
        ({"sweep": {"tau": (0.5, 1.5)}}, "sweep.tau=1.5 must be above 0 and at most 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"data_placement": "disk"}, "'disk' is unknown: use one of auto, device, host"),
    ],
)
def test_what_cannot_be_trained_is_refused(tiny_learner, tiny_rows, options, says):
    with pytest.raises(InputError, match=says) as error:
        Trainer(tiny_learner(), tiny_rows(), **options)
    assert "\n" not in str(error.value)


def test_what_acts_is_the_learners_own_for_every_member(make_trainer, tiny_learner):
    trainer = make_trainer((5, 7))
    params = trainer.policy_params(trainer.init())
    alone = tiny_learner().policy_params(tiny_learner().init(jax.random.key(7)))
    for both, one in zip(jax.tree.leaves(params), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(both[1], one, rtol=1e-6)


@pytest.mark.parametrize(
    ("num_seeds", "devices"), [(1, 1), (2, 2), (3, 3), (6, 6), (9, 3), (16, 8)]
)
def test_members_use_the_largest_number_of_devices_that_divides_them(num_seeds, devices):
    assert sharding.member_mesh(num_seeds).size == devices
