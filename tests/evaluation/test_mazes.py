import gymnasium
import mujoco
import numpy as np
import pytest

from edp_jax.evaluation import envs, mazes
from edp_jax.types import EnvSpec

SIZES = ("umaze", "medium", "large")
ANT_STEPS = {"umaze": 700, "medium": 1000, "large": 1000}
POINT_STEPS = {"umaze": 300, "medium": 600, "large": 800}
ANT_GOAL_CORNERS = {
    "umaze": (0, 8),
    "medium": (20, 20),
    "large": (32, 24),
}  # 4 (column - 1), 4 (row - 1)
POINT_GOALS = {"umaze": (1, 1), "medium": (6, 6), "large": (7, 9)}


def make(name, num_envs=1):
    return envs.make(EnvSpec(name), num_envs)


def put(env, position, velocity=(0, 0)):
    env.unwrapped.data.qpos[:2], env.unwrapped.data.qvel[:2] = position, velocity


def walls_at(model, points, height):
    """Whether each of the points [N, 2] lies inside a box of the model at that height."""
    boxes = model.geom_type == mujoco.mjtGeom.mjGEOM_BOX
    centre, half = model.geom_pos[boxes], model.geom_size[boxes]
    offset = np.abs(np.column_stack([points, np.full(len(points), height)])[:, None] - centre)
    return (offset <= half).all(axis=-1).any(axis=-1)


def cells(size):
    layout = np.array([list(row) for row in mazes.LAYOUTS[size]])
    return np.argwhere(layout != ""), layout.ravel() == "#"


@pytest.mark.parametrize("size", SIZES)
def test_walls_fill_the_cells_of_the_layout_and_no_others(size):
    rowcol, wall = cells(size)
    for corner in [(0, 0), (-0.49, -0.49), (0.49, 0.49)]:
        ant = 4.0 * (
            rowcol[:, ::-1] - 1 + corner
        )  # x runs with columns; the origin is the middle of cell (1, 1)
        np.testing.assert_array_equal(walls_at(mazes.ant_maze_model(size), ant, 1.99), wall)
        np.testing.assert_array_equal(
            walls_at(mazes.point_maze_model(size), rowcol + 1.0 + corner, 0.0), wall
        )
    assert not walls_at(mazes.ant_maze_model(size), 4.0 * (rowcol - 1), 2.01).any()  # 2 high


def test_the_ant_has_the_parameters_of_d4rl():
    model = mazes.ant_maze_model("umaze")
    assert (model.opt.timestep, model.opt.integrator) == (0.02, mujoco.mjtIntegrator.mjINT_RK4)
    np.testing.assert_array_equal(model.actuator_gear[:, 0], 30)
    np.testing.assert_allclose(
        model.geom_solimp[:, :3], np.tile([0.8, 0.8, 0.01], (model.ngeom, 1))
    )
    np.testing.assert_allclose(model.geom_solref, np.tile([0.02, 1], (model.ngeom, 1)))
    # density 5; torso: a sphere, radius 0.25; hip: a cylinder, radius 0.08, 0.2 sqrt 2 + 0.08 long
    assert model.body("torso").mass[0] == pytest.approx(5 * 4 / 3 * np.pi * 0.25**3)
    assert model.body("aux_1").mass[0] == pytest.approx(
        5 * np.pi * 0.08**2 * (0.2 * np.sqrt(2) + 0.08)
    )


def test_old_capsules_give_the_hopper_masses_of_mujoco_2():
    model = gymnasium.make("Hopper-v4").unwrapped.model
    mazes.use_old_capsules(model)
    # torso, thigh, leg, foot of Hopper-v2 on mujoco-py
    np.testing.assert_allclose(
        model.body_mass[1:], [3.53429174, 3.92699082, 2.71433605, 5.0893801], rtol=1e-8
    )
    # torso: cylinder of radius 0.05 and length 0.45 about a cross axis, and about its own
    np.testing.assert_allclose(
        model.body_inertia[1], 3.53429174 * np.array([0.0175, 0.0175, 0.00125]), rtol=1e-8
    )


@pytest.mark.parametrize("size", SIZES)
def test_antmaze_starts_around_the_origin(size):
    (env,) = make(f"antmaze-{size}-v2")
    starts = np.stack([env.reset(seed=seed)[0] for seed in range(200)])
    assert starts.shape == (200, 29) and starts.dtype == np.float32
    assert np.abs(starts[:, :2]).max() <= 0.1 and np.abs(starts[:, 2] - 0.75).max() <= 0.1
    assert np.abs(starts[:, 7:15]).max() <= 0.1
    np.testing.assert_allclose(starts[:, :2].std(axis=0), 0.2 / np.sqrt(12), rtol=0.15)
    np.testing.assert_allclose(np.linalg.norm(starts[:, 3:7], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(starts[:, 15:].std(axis=0), 0.1, rtol=0.25)
    np.testing.assert_array_equal(env.reset(seed=3)[0], starts[3])


@pytest.mark.parametrize("size", SIZES)
def test_antmaze_v2_draws_a_goal_per_episode_in_the_goal_cell(size):
    (env,) = make(f"antmaze-{size}-v2")
    goals = []
    for seed in range(300):
        env.reset(seed=seed)
        goals.append(env.unwrapped.goal)
    offsets = np.array(goals) - ANT_GOAL_CORNERS[size]
    assert offsets.min() >= 0 and offsets.max() <= 1.5  # the cell reaches 2 beyond its middle
    # the sum of uniforms on [0, 1] and [0, 0.5]
    np.testing.assert_allclose(offsets.mean(axis=0), 0.75, atol=0.06)
    np.testing.assert_allclose(offsets.std(axis=0), np.sqrt(1.25 / 12), rtol=0.1)
    env.reset(seed=7)
    np.testing.assert_array_equal(env.unwrapped.goal, goals[7])


def test_antmaze_v0_keeps_the_goal_of_an_environment():
    first, second = make("antmaze-medium-v0", 2)
    first.reset(seed=0)
    second.reset(seed=0)
    goal, other = first.unwrapped.goal, second.unwrapped.goal
    first.reset(seed=1)
    np.testing.assert_array_equal(first.unwrapped.goal, goal)
    assert not np.array_equal(goal, other)
    assert np.all((goal >= 20) & (goal <= 21.5))
    again = make("antmaze-medium-v0", 3)[1]
    again.reset(seed=5)
    np.testing.assert_array_equal(again.unwrapped.goal, other)


def test_antmaze_pays_and_ends_within_half_of_the_goal():
    (env,) = make("antmaze-umaze-v2")
    for distance, reached in [(0.8, False), (0.2, True)]:
        env.reset(seed=0)
        put(env, env.unwrapped.goal + [distance, 0])
        observation, reward, terminated, truncated, info = env.step(np.zeros(8))
        assert (np.linalg.norm(observation[:2] - env.unwrapped.goal) <= 0.5) == reached
        assert (reward, terminated, truncated) == (float(reached), reached, False)
        assert info["success"] == reached


@pytest.mark.parametrize("size", SIZES)
def test_antmaze_is_cut_after_its_steps(size):
    (env,) = make(f"antmaze-{size}-v2")
    env.reset(seed=0)
    ends = [env.step(np.zeros(8))[2:4] for _ in range(ANT_STEPS[size])]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


def test_an_ant_on_its_back_goes_on():
    (env,) = make("antmaze-umaze-v2")
    env.reset(seed=0)
    env.unwrapped.data.qpos[3:7] = 0, 1, 0, 0
    ends = [env.step(np.zeros(8))[2:4] for _ in range(20)]
    assert not any(terminated or truncated for terminated, truncated in ends)


def test_antmaze_observes_positions_then_velocities_of_a_step():
    (env,) = make("antmaze-umaze-v2")
    env.reset(seed=0)
    observation = env.step(np.full(8, 0.5))[0]
    data = env.unwrapped.data
    np.testing.assert_array_equal(
        observation, np.concatenate([data.qpos, data.qvel]).astype(np.float32)
    )
    assert data.time == pytest.approx(0.1)


def test_environments_share_the_model_but_no_state():
    first, second = make("antmaze-umaze-v2", 2)
    action = np.linspace(-1, 1, 8)
    first.reset(seed=1)
    alone = [first.step(action)[0] for _ in range(5)]
    first.reset(seed=2)
    second.reset(seed=1)
    together = []
    for _ in range(5):
        first.step(-action)
        together.append(second.step(action)[0])
    np.testing.assert_array_equal(together, alone)
    assert first.unwrapped.model is second.unwrapped.model


@pytest.mark.parametrize("direction", [(-1, 0), (0, -1), (0, 1)])
def test_walls_stop_the_ant(direction):
    # cell (1, 1) of the umaze is open towards larger x only; its walls begin 2 from its middle
    (env,) = make("antmaze-umaze-v2")
    env.reset(seed=0)
    put(env, (0, 0), 8.0 * np.array(direction))
    positions = np.stack([env.step(np.zeros(8))[0][:2] for _ in range(30)])
    assert np.abs(positions).max() < 2
    assert (positions @ direction).max() > 0.7  # it did get there: a leg reaches 1 from the torso


def test_an_open_side_does_not_stop_the_ant():
    (env,) = make("antmaze-umaze-v2")
    env.reset(seed=0)
    put(env, (0, 0), (8.0, 0))
    assert max(env.step(np.zeros(8))[0][0] for _ in range(30)) > 2


@pytest.mark.parametrize("size", SIZES)
def test_maze2d_starts_in_any_free_cell_at_the_fixed_goal_too(size):
    (env,) = make(f"maze2d-{size}")
    starts = np.stack([env.reset(seed=seed)[0] for seed in range(400)])
    assert starts.shape == (400, 4) and starts.dtype == np.float32
    rowcol, wall = cells(size)
    nearest = np.round(starts[:, :2])
    assert {tuple(cell) for cell in nearest.astype(int)} == {tuple(cell) for cell in rowcol[~wall]}
    assert np.abs(starts[:, :2] - nearest).max() <= 0.1001
    np.testing.assert_allclose(starts[:, 2:].std(axis=0), 0.1, rtol=0.15)
    np.testing.assert_array_equal(env.unwrapped.goal, POINT_GOALS[size])
    np.testing.assert_array_equal(env.reset(seed=3)[0], starts[3])


def test_maze2d_pays_every_step_near_the_goal_and_does_not_end():
    (env,) = make("maze2d-umaze")
    env.reset(seed=0)
    put(env, (1.3, 1.3))
    for _ in range(3):
        assert env.step(np.zeros(2))[1:4] == (1.0, False, False)
    put(env, (1.0, 1.6))
    assert env.step(np.zeros(2))[1:4] == (0.0, False, False)


@pytest.mark.parametrize("size", SIZES)
def test_maze2d_is_cut_after_its_steps(size):
    (env,) = make(f"maze2d-{size}")
    env.reset(seed=0)
    ends = [env.step(np.zeros(2))[2:4] for _ in range(POINT_STEPS[size])]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


def test_a_step_of_the_ball_by_hand():
    # m dv/dt = 100 a - v with implicit damping, h = 0.01:
    # v' = v + h (100 a - v) / (m + h), and x' = x + h v'
    (env,) = make("maze2d-large")
    env.reset(seed=0)
    put(env, (1.0, 2.0), (0.5, -7.0))
    mass = 1000 * 4 / 3 * np.pi * 0.1**3
    velocity = np.array([0.5, -5.0])  # D4RL limits the speed before the step
    velocity += 0.01 * (100 * np.array([0.3, -0.2]) - velocity) / (mass + 0.01)
    observation = env.step(np.array([0.3, -0.2]))[0]
    np.testing.assert_allclose(
        observation, [*(np.array([1.0, 2.0]) + 0.01 * velocity), *velocity], rtol=1e-6
    )


def test_a_wall_throws_the_ball_back_as_in_mujoco_2():
    # one contact by the equations of MuJoCo's chapter "Computation", default solref and solimp
    mass, damping, step, time_constant, impedance = (
        1000 * 4 / 3 * np.pi * 0.1**3,
        1.0,
        0.01,
        0.02,
        0.95,
    )
    depth, speed = 0.008 + 0.002, 2.0  # beyond the wall's surface, which the margin moves by 0.002
    wanted = 2 / (impedance * time_constant) * speed + depth / (impedance * time_constant**2)
    free = damping * speed / mass
    regularisation = (
        (1 - impedance) / impedance * 2 / (3 * mass)
    )  # 2 / 3: one axis of three is fixed
    acceleration = free + (wanted - free) / mass / (1 / mass + regularisation)
    expected = speed - step * acceleration * mass / (mass + step * damping)
    (env,) = make("maze2d-umaze")
    env.reset(seed=0)
    put(env, (1.208, 1.0), (speed, 0))
    assert env.step(np.zeros(2))[0][2] == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(
        -0.28284755, rel=1e-5
    )  # MuJoCo 2.3.3; 3.1 without the ball's old inverse weight: -0.2449


@pytest.mark.parametrize(("action", "wall"), [((-1, 0), 0.4), ((0, -1), 0.4), ((1, 0), 1.2)])
def test_walls_stop_the_ball(action, wall):
    # the corridor of cells 1 is [0.5, 1.5] wide around its middle 1; less the offset 0.2 and the
    # radius 0.1: [0.4, 1.2]
    (env,) = make("maze2d-umaze")
    env.reset(seed=0)
    put(env, (1.0, 1.0))
    positions = np.stack([env.step(np.array(action))[0][:2] for _ in range(100)])
    axis = int(np.flatnonzero(action)[0])
    assert positions[-1, axis] == pytest.approx(wall, abs=0.03)
    assert positions[-1, 1 - axis] == pytest.approx(1.0, abs=0.01)
