"""Drives an environment at a fixed rate with a policy from a file, as a robot would be driven.

python examples/control_loop.py policy.onnx --env_id=Hopper-v4 --rate=50

Every tick sends an action that was chosen since the tick before. Where the policy is late, the tick
waits for it, and a robot holds its last action for so long. Later ticks keep to the clock: those
that are over are left out and count as missed. An observation that is NaN or infinite makes the
policy give its last valid action again.
"""

import argparse
import time

import gymnasium

import edp_jax


def drive(policy, env: gymnasium.Env, rate: float, seconds: float) -> str:
    """Acts for some seconds; what became of it, in three lines."""
    observation, _ = env.reset(seed=0)
    plan, total, episodes, late, missed, ticks, held = [], 0.0, 0, [], 0, 0, 0
    start = due = time.perf_counter()
    while due - start < seconds:
        if len(plan) == 0:  # a policy with a horizon gives several actions at once
            plan = policy(observation).reshape(-1, policy.action_dim)
            held += policy.held > 0
        time.sleep(max(0.0, due - time.perf_counter()))
        late.append(time.perf_counter() - due)
        observation, reward, terminated, truncated, _ = env.step(plan[0])
        plan, total, ticks = plan[1:], total + float(reward), ticks + 1
        if terminated or truncated:
            observation, _ = env.reset()
            plan, episodes = [], episodes + 1
        over = int((time.perf_counter() - due) * rate)  # ticks that passed since this one was due
        missed, due = missed + over, due + (1 + over) / rate
    return (
        f"rate: {ticks / (due - start):.1f} Hz of {rate:g} Hz\n"
        f"missed deadlines: {missed}, worst lateness: {1e3 * max(late):.2f} ms, held: {held}\n"
        f"return: {total:.1f} in {ticks} steps, {episodes} episodes ended"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", help="an .edp or .onnx file, or the folder of a run")
    parser.add_argument("--env_id", default="Hopper-v4")
    parser.add_argument("--rate", type=float, default=50.0, help="ticks per second")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    if not (given.rate > 0 and given.seconds > 0):
        parser.error("--rate and --seconds must be above 0")
    policy = edp_jax.load_policy(given.policy, on_invalid="hold")
    policy.warm_up()  # the first call compiles
    print(drive(policy, gymnasium.make(given.env_id), given.rate, given.seconds))


if __name__ == "__main__":
    main()
