"""A film of one episode, drawn without a display."""

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import InputError, algorithms, data, stepping
from edp_jax.algorithms import AgentState
from edp_jax.algorithms.base import evaluation_key
from edp_jax.algorithms.edp import make_critics
from edp_jax.errors import not_installed, one_line
from edp_jax.evaluation import envs
from edp_jax.files import replacing
from edp_jax.policy import in_dataset_units
from edp_jax.stepping import Step
from edp_jax.types import EnvSpec

from . import launch

_WITHOUT_DISPLAY = ("egl", "osmesa")  # PyOpenGL has these by the same names
_PROBE = "import mujoco; mujoco.GLContext(16, 16).make_current()"
_SIZE = 480  # pixels, where an environment does not say
_FPS = 30  # where an environment does not say
_BLOCK = 16  # encoders want frames whose sides are multiples of this

# (observation [1, O], number of the call) -> actions [1, A] or plans [1, H, A], and their value
Choose = Callable[[np.ndarray, int], tuple[np.ndarray, float]]


def choose_backend() -> None:
    """Lets MuJoCo draw without a display; before it is imported.

    Raises:
      InputError: it cannot.
    """
    given = os.environ.get("MUJOCO_GL")
    usual = ("cgl",) if sys.platform == "darwin" else _WITHOUT_DISPLAY
    names = (given,) if given else usual
    for name in names:
        chosen = {"MUJOCO_GL": name}
        if name in _WITHOUT_DISPLAY:
            chosen["PYOPENGL_PLATFORM"] = name
        command, environment = [sys.executable, "-c", _PROBE], os.environ | chosen
        if not subprocess.run(
            command, env=environment, capture_output=True, check=False
        ).returncode:
            os.environ |= chosen
            return
    raise InputError(
        "--video: MuJoCo cannot draw here without a display (tried MUJOCO_GL="
        f"{' and '.join(names)}); install OpenGL for one, as in apt install libegl1 "
        "libgl1-mesa-dri, or libosmesa6"
    )


def check_packages() -> None:
    """Refuses early where frames could not be encoded or written on.

    Raises:
      InputError: a package is missing.
    """
    try:
        import imageio_ffmpeg  # noqa: F401
        from PIL import Image  # noqa: F401
    except ImportError as error:
        raise not_installed("--video", error, "video") from error


def make_choose(
    algorithm: algorithms.Algorithm,
    dataset: data.Dataset,
    execute: int,
    state: AgentState,
    member: int = 0,
) -> Choose:
    """Makes a policy that also says what it thinks of its actions.

    Args:
      algorithm: the learner, which says how to act.
      dataset: of the run.
      execute: actions of a chunk that are taken before the next choice.
      state: of all members [R].
      member: which of them acts.

    Returns:
      A function that gives, beside actions or plans, min_i Q_i of them; NaN where the learner has
      no critics.
    """
    own = jax.tree.map(lambda leaf: leaf[member], state)
    params, key = algorithm.policy_params(own), evaluation_key(own)
    critic = own.networks.get("critic")
    critics = None if critic is None else make_critics(algorithm.settings, dataset.spec.for_learner)

    @jax.jit
    def choose(observation: jax.Array, call: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = []

        def act(params: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
            action = algorithm.act(params, observation, key)
            if critics is not None and critic is not None:
                q = critics.apply(critic.params, observation, action)
                values.append(jnp.min(q, axis=0)[0])
            return action

        act_in_units = in_dataset_units(act, dataset.units, execute)
        plan = act_in_units(params, observation, jax.random.fold_in(key, call))
        return plan, values[0] if values else jnp.nan

    def called(observation: np.ndarray, call: int) -> tuple[np.ndarray, float]:
        plan, value = choose(observation, np.int32(call))
        return np.asarray(plan), float(value)

    return called


def film(path: str, choose: Choose, environment: EnvSpec, seed: int) -> tuple[float, int]:
    """Films an episode.

    Args:
      path: of the .mp4 file.
      choose: the policy.
      environment: where it acts.
      seed: of the environment.

    Returns:
      Its return and length.

    Raises:
      InputError: the environment fails or cannot be drawn, or the file cannot be written.
    """
    env = envs.make(_drawable(environment), 1)[0]
    draw, close = _drawing(env, environment.name)
    calls, value = 0, float("nan")

    def act(observation: np.ndarray) -> np.ndarray:
        nonlocal calls, value
        plan, value = choose(observation, calls)
        calls += 1
        return plan

    total, length = 0.0, 0
    try:
        with replacing(path) as part, _encoding(part, env.metadata.get("render_fps", _FPS)) as add:
            for step in _episode(env, act, seed):
                total, length = total + float(step.reward[0]), length + int(step.stepped[0])
                add(write_on(_drawn(draw), caption(length, float(step.reward[0]), total, value)))
    finally:
        close()
    return total, length


def _episode(env: Any, act: Callable[[np.ndarray], np.ndarray], seed: int) -> Iterator[Step]:
    """The steps of an episode, with errors of the environment in one line."""
    try:
        yield from stepping.run([env], act, [seed], restart=False)
    except Exception as error:  # simulators raise what they like
        raise InputError(
            f"--video: the environment fails in the filmed episode ({type(error).__name__}: "
            f"{one_line(error)}); leave it out, or film another one with --seed"
        ) from error


@contextlib.contextmanager
def _encoding(path: str, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Makes an .mp4 file of the frames that the function it gives is called with."""
    import imageio_ffmpeg

    writer = None

    def add(frame: np.ndarray) -> None:
        nonlocal writer
        if writer is None:
            size = frame.shape[1], frame.shape[0]
            encoded = {"fps": fps, "output_params": ["-f", "mp4"], "macro_block_size": 1}
            writer = imageio_ffmpeg.write_frames(path, size, **encoded)
            with launch.starting_programs():
                writer.send(None)
        writer.send(frame.tobytes())

    try:
        yield add
    finally:
        if writer is not None:
            writer.close()


def caption(step: int, reward: float, total: float, value: float) -> str:
    """What is written on a frame; the value only where there is one."""
    text = f"step {step}   reward {reward:.2f}   return {total:.1f}"
    return text if np.isnan(value) else f"{text}   Q {value:.1f}"


def write_on(frame: np.ndarray, text: str) -> np.ndarray:
    """Writes a line above a frame [height, width, 3] uint8, on a strip of its own.

    Returns:
      The frame with the strip, cut to sides that encoders take.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = (side - side % _BLOCK for side in frame.shape[:2])
    strip = 2 * _BLOCK
    picture = Image.new("RGB", (width, height + strip), "black")
    picture.paste(Image.fromarray(frame[:height, :width]), (0, strip))
    size = min(18, int(1.8 * width / len(text)))
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).text((8, strip // 2), text, fill="white", font=font, anchor="lm")
    return np.asarray(picture)


def _drawn(draw: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return draw()
    except Exception as error:  # such as a package that is missing
        raise InputError(
            f"--video: the environment cannot be drawn ({one_line(error)}); leave --video out"
        ) from error


def _drawable(environment: EnvSpec) -> EnvSpec:
    """An environment of gymnasium as one that draws; the others do so anyway."""
    if not environment.name.startswith("gymnasium:"):
        return environment
    kwargs = json.loads(environment.kwargs) | {"render_mode": "rgb_array"}
    return EnvSpec(environment.name, json.dumps(kwargs))


def _drawing(env: Any, name: str) -> tuple[Callable[[], np.ndarray], Callable[[], None]]:
    """What draws an environment, its own or that of the MuJoCo robot inside, and what ends it."""
    if env.render_mode == "rgb_array":
        return env.render, env.close
    base = env.unwrapped
    for part in (base, *vars(base).values()):
        if hasattr(part, "mujoco_renderer"):
            renderer = part.mujoco_renderer
            return functools.partial(renderer.render, "rgb_array"), renderer.close
    if hasattr(base, "model") and hasattr(base, "data"):
        import mujoco

        renderer = mujoco.Renderer(base.model, _SIZE, _SIZE)

        def draw() -> np.ndarray:
            renderer.update_scene(base.data)
            return renderer.render()

        return draw, renderer.close
    raise InputError(f"--video: environment {name!r} cannot be drawn; leave --video out")
