"""The time of an online phase: environment steps as a function of the number of updates."""

import dataclasses
import math

LEAST_STEPS = 50  # environment steps of a round; each round waits for the devices once


@dataclasses.dataclass(frozen=True)
class Rounds:
    """An online phase: `begin` updates on the data, then rounds of equal size.

    While the devices do the updates of a round, every member takes the steps of that round in its
    environment, with its policy as it was at the round's start. The updates of the next round can
    draw them. The warm-up comes before the first round: steps without updates.
    """

    begin: int  # updates before the phase
    number: int  # rounds
    steps: int  # environment steps of a round, of each member
    updates: int  # of a round
    warmup: int  # environment steps before the first round, of each member

    @property
    def end(self) -> int:
        """Updates after the last round."""
        return self.begin + self.number * self.updates

    def env_steps(self, update: int) -> int:
        """Environment steps that each member has taken when so many updates are done.

        In the middle of a round those of its start; at `begin` none, the warm-up included.
        """
        if update <= self.begin:
            return 0
        return self.warmup + (update - self.begin) // self.updates * self.steps

    def end_of_round(self, env_step: int) -> int:
        """Updates at the end of the round in which a step is taken, counted from 1.

        The warm-up counts as a part of the first round.
        """
        index = max(1, math.ceil((env_step - self.warmup) / self.steps))
        return self.begin + index * self.updates

    def next_end(self, update: int) -> int:
        """The first end of a round at or after an update; updates up to `begin` stay."""
        if update <= self.begin:
            return update
        return self.begin + math.ceil((update - self.begin) / self.updates) * self.updates


def plan(
    begin: int, env_steps: int, warmup: int, updates_per_step: int, draws_ahead: int
) -> Rounds:
    """Divides an online phase into rounds.

    Args:
      begin: updates before the phase.
      env_steps: that each member takes at least; the last round is a whole one.
      warmup: of these, before the first update.
      updates_per_step: updates per environment step after the warm-up.
      draws_ahead: of the learner; a round is a multiple of so many updates, counted from update 0.

    Returns:
      Rounds of the fewest environment steps, but at least `LEAST_STEPS`.
    """
    multiple = draws_ahead // math.gcd(draws_ahead, updates_per_step)
    steps = math.ceil(LEAST_STEPS / multiple) * multiple
    number = math.ceil((env_steps - warmup) / steps)
    return Rounds(begin, number, steps, steps * updates_per_step, warmup)
