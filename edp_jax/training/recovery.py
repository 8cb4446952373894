"""Where a run can go on: at its newest checkpoint that is sound and that its tables agree with."""

import os
import tempfile
from collections.abc import Callable

from edp_jax.files import writing
from edp_jax.training.checkpoint import find_damage, saved_steps
from edp_jax.types import InputError


def set_unusable_aside(
    folder: str, disagrees: Callable[[int], str | None], tell: Callable[[str], None] = print
) -> int | None:
    """Moves checkpoints out of the way, from the newest on, until one can be used.

    They are kept beside the folder, under DIR/set_aside. None may be left; the run begins anew
    then.

    Args:
      folder: DIR/checkpoints of a run.
      disagrees: what the tables of the run lack of those that a sound checkpoint was saved with, by
        its step; None where they agree.
      tell: takes a line about each that is moved.

    Returns:
      The step of the one that can be used; None where there is none.

    Raises:
      InputError: there are checkpoints and all are damaged. None is moved then.
    """
    found, damage, reasons = None, {}, {}
    for step in saved_steps(folder):
        damage[step] = find_damage(folder, step)
        if damage[step] is not None:
            reasons[step] = f"is damaged ({damage[step]})"
        elif (difference := disagrees(step)) is not None:
            reasons[step] = f"is not used, since {difference}"
        else:
            found = step
            break
    if damage and all(damage.values()):
        raise InputError(
            f"{folder}: no checkpoint there can be read ({max(damage)}: {damage[max(damage)]}); "
            "restore one, or move the folder away to begin anew"
        )
    aside = os.path.join(os.path.dirname(os.path.abspath(folder)), "set_aside")
    for step, reason in reasons.items():
        with writing(aside):
            os.makedirs(aside, exist_ok=True)
            place = os.path.join(tempfile.mkdtemp(prefix=f"{step}_", dir=aside), str(step))
            os.rename(os.path.join(folder, str(step)), place)
        tell(f"checkpoint {step:,} {reason}; it is now {place}")
    if reasons and found is None:
        tell("no checkpoint is left that can be used: the run begins anew")
    return found
