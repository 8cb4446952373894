"""The time of an online phase, in updates and in environment steps."""

import pytest

from edp_jax.training.rounds import LEAST_STEPS, Rounds, plan
from edp_jax.training.run import Schedule


def test_environment_steps_are_a_function_of_the_updates():
    """After the warm-up of 30 steps, 10 steps and 20 updates a round."""
    rounds = Rounds(begin=100, number=3, steps=10, updates=20, warmup=30)
    steps = {0: 0, 100: 0, 101: 30, 119: 30, 120: 40, 121: 40, 140: 50, 160: 60}
    assert {update: rounds.env_steps(update) for update in steps} == steps
    assert rounds.end == 160
    ends = {0: 0, 99: 99, 100: 100, 101: 120, 120: 120, 121: 140}
    assert {update: rounds.next_end(update) for update in ends} == ends
    # the steps of the warm-up, 1 to 30, and of the first round belong to its end
    ends = {1: 120, 30: 120, 31: 120, 40: 120, 41: 140, 60: 160}
    assert {step: rounds.end_of_round(step) for step in ends} == ends


@pytest.mark.parametrize(
    ("updates_per_step", "draws_ahead", "steps"),
    [(1, 1, 50), (1, 5, 50), (1, 8, 56), (4, 8, 50), (3, 8, 56), (20, 5, 50)],
)
def test_a_round_is_a_multiple_of_the_updates_that_are_drawn_together(
    updates_per_step, draws_ahead, steps
):
    assert LEAST_STEPS == 50
    rounds = plan(7, 1000, 100, updates_per_step, draws_ahead)
    assert (rounds.steps, rounds.updates) == (steps, steps * updates_per_step)
    assert rounds.updates % draws_ahead == 0
    # at least the 1000 steps that were asked for, and less than a round more
    assert 0 <= rounds.env_steps(rounds.end) - 1000 < steps


def test_what_is_due_inside_a_round_happens_at_its_end():
    """Rounds of 8 updates from 10 on, a row of metrics every 5 updates, an evaluation every 20."""
    schedule = Schedule(10, 5, 20, 20, Rounds(10, 4, 8, 8, 0))
    assert list(schedule.stops(0)) == [5, 10, 18, 26, 34, 42]
    assert [step for step in schedule.stops(0) if schedule.due(step, 20)] == [10, 26, 42]
    assert list(schedule.stops(26)) == [34, 42]  # as without the stop
    kept = Schedule(10, 99, 99, 99, Rounds(10, 4, 8, 8, 0), keep_every=15)
    assert [step for step in kept.stops(0) if kept.keeps(step)] == [10, 18, 34, 42]
    coarse = Schedule(10, 20, 20, 20, Rounds(10, 4, 8, 8, 0))
    assert list(coarse.stops(0)) == [10, 26, 42]
