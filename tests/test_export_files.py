"""A policy in one file acts as the trained one, without this package, and nothing else is read."""

import json
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

import edp_jax
from edp_jax import InputError, TaskSpec, Units, acting, algorithms
from edp_jax.export import PolicyFile, Program, make_program, onnx_file, write_policy
from edp_jax.export import metadata as meta

pytest.importorskip("flatbuffers", reason="the package flatbuffers is not installed")
pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

ONE = Units(
    np.array([1.0, -2.0, 0.5], np.float32),
    np.array([2.0, 0.5, 1.0], np.float32),
    np.array([-1.0, 0.2], np.float32),
    np.array([1.0, 0.4], np.float32),
)
KITCHEN = "kitchen-complete-v0"
DIFFUSION = {"num_timesteps": 10, "sampler_calls": 2}
# learner, settings, horizon, ways of acting; little noise to start from: untrained policies would
# give the corners of the box
CASES = {
    "choice": ("edp_td3", DIFFUSION, 1, {"starting_noise": 0.02, "num_candidates": 3}),
    "steps": ("dac", {"activation": "gelu", "sampler_calls": 2}, 1, {"starting_noise": 0.02}),
    "best": ("edp", DIFFUSION, 1, {"starting_noise": 0.02, "num_candidates": 3}),
    "expectile": ("idql", DIFFUSION, 1, {"starting_noise": 0.02, "num_candidates": 3}),
    "chunks": (
        "bc_diffusion",
        DIFFUSION | {"activation": "silu"},
        3,
        {"starting_noise": 0.02, "execute": 2},
    ),
    "student": ("fql", {}, 1, {}),
    "mean": ("td3_bc", {}, 1, {}),
    "kitchen": ("edp_td3", DIFFUSION, 1, {"starting_noise": 0.02, "num_candidates": 3}),
}

WITH_JAX = """
import sys
sys.modules["edp_jax"] = None  # an import of it fails
import io, zipfile
import jax, jax.export
import numpy as np
for name in sys.argv[1:]:
    with zipfile.ZipFile(f"{name}.edp") as file:
        exported = jax.export.deserialize(bytearray(file.read("program.bin")))
        params = {
            member[len("params/") : -len(".npy")]: np.load(io.BytesIO(file.read(member)))
            for member in file.namelist()
            if member.startswith("params/")
        }
    for size in ("few", "one"):
        action = exported.call(params, dict(np.load(f"{name}.{size}.npz")))
        np.save(f"{name}.edp.{size}.npy", action)
"""
WITH_ONNX = """
import sys
sys.modules["edp_jax"] = sys.modules["jax"] = sys.modules["jaxlib"] = None
import numpy as np, onnxruntime
for name in sys.argv[1:]:
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    for size in ("few", "one"):
        (action,) = session.run(["action"], dict(np.load(f"{name}.{size}.npz")))
        np.save(f"{name}.onnx.{size}.npy", action)
"""


def make(name, units=ONE):
    """(program, learner's own act, parameters) of an untrained policy."""
    learner, changes, horizon, ways = CASES[name]
    settings = algorithms.settings(learner, hidden_dims=(8, 8), **changes)
    spec = TaskSpec(len(units.observation_mean), len(units.action_low), horizon)
    algorithm = algorithms.make(learner, settings, spec)
    like = jax.eval_shape(
        lambda key: algorithm.policy_params(algorithm.init(key)), jax.random.key(0)
    )
    rng = np.random.default_rng(0)

    def draw(leaf):  # biases too: a wrong one would not be seen at 0
        if leaf.dtype == bool:  # whether critics choose
            return np.ones(leaf.shape, bool)
        scale = 0.5 * leaf.shape[-2] ** -0.5 if leaf.ndim > 1 else 0.03
        return rng.normal(0.0, scale, leaf.shape).astype(np.float32)

    params = jax.tree.map(draw, like)
    program = make_program(PolicyFile(learner, settings, spec, ({"seed": 0},), units), params, ways)
    changed = settings.replace(**{key: way for key, way in ways.items() if key != "execute"})
    return program, algorithms.make(learner, changed, spec).act, params


def kitchen(d4rl_dir):
    """Real observations [8, O], and units that are fitted to them."""
    h5py = pytest.importorskip("h5py")
    (path,) = (d4rl_dir(KITCHEN) / KITCHEN).glob("*.hdf5")
    with h5py.File(path) as file:
        observations = np.asarray(file["observations"], np.float32)
        action_dim = file["actions"].shape[1]
    mean, std = observations.mean(axis=0), observations.std(axis=0) + np.float32(1e-3)
    box = np.ones(action_dim, np.float32)
    return observations[::400][:8], Units(mean, std, -box, box)


@pytest.fixture(scope="module")
def written(tmp_path_factory, d4rl_dir):
    """Folder with the files of all cases, and what the learners' own code does: {name: actions}."""
    folder, expected = tmp_path_factory.mktemp("exported"), {}
    patch = pytest.MonkeyPatch()
    patch.setattr("edp_jax.export.onnx_file._compare", lambda *_: None)  # the tests do that
    for name in CASES:
        observation, units = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32), ONE
        if name == "kitchen":
            try:
                observation, units = kitchen(d4rl_dir)
            except pytest.skip.Exception:
                continue
        program, act, params = make(name, units)
        numbers = acting.draw(act.shapes, jax.random.key(5), (8,))
        inputs = {"observation": observation, **jax.device_get(numbers)}
        np.savez(folder / f"{name}.few.npz", **inputs)
        np.savez(folder / f"{name}.one.npz", **{key: value[:1] for key, value in inputs.items()})
        scaled = (observation - units.observation_mean) / units.observation_std
        action = jax.jit(act.run)(params, scaled, numbers)
        horizon, execute = program.interface.horizon, program.interface.execute
        action = np.asarray(action).reshape(8, horizon, -1)[:, :execute]
        middle = (units.action_low + units.action_high) / 2
        action = middle + (units.action_high - units.action_low) / 2 * action
        expected[name] = action if horizon > 1 else action[:, 0]
        for suffix in (".edp", ".onnx"):
            write_policy(folder / f"{name}{suffix}", program, {"task": name})
    patch.undo()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for script in (WITH_JAX, WITH_ONNX):
        command = [sys.executable, "-c", script, *expected]
        subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder, expected


@pytest.mark.parametrize("suffix", [".edp", ".onnx"])
@pytest.mark.parametrize("name", CASES)
def test_exported_actions_are_those_of_the_training_code(written, d4rl_dir, name, suffix):
    """In a process that has no edp_jax, and with ONNX no JAX; for two sizes of a batch."""
    folder, expected = written
    if name not in expected:
        d4rl_dir(KITCHEN)  # skips
    few, one = (np.load(folder / f"{name}{suffix}.{size}.npy") for size in ("few", "one"))
    assert few.shape == expected[name].shape and few.dtype == np.float32
    assert np.max(np.abs(few - expected[name])) < 1e-5
    assert np.max(np.abs(one - expected[name][:1])) < 1e-5
    ends = np.min(expected[name]), np.max(expected[name])
    assert np.mean((few > ends[0]) & (few < ends[1])) > 0.5  # else corners would be compared


@pytest.mark.parametrize("name", ["choice", "steps", "chunks"])
def test_all_formats_act_alike(written, name):
    """Without a key, and with one."""
    program, _, _ = make(name)
    observation, key = np.array([0.3, -1.0, 0.2]), jax.random.key(3)
    loaded = [edp_jax.load_policy(written[0] / f"{name}{suffix}") for suffix in (".edp", ".onnx")]
    numbers = acting.draw(program.interface.random_numbers, key, (1,))
    _, run, _ = onnx_file.read(written[0] / f"{name}.onnx")
    own = run({"observation": np.float32(observation[None]), **numbers})
    for policy in loaded:
        np.testing.assert_allclose(policy(observation, key), own[0], atol=1e-5)
        np.testing.assert_allclose(policy(observation), loaded[0](observation), atol=1e-5)
        assert policy.interface == program.interface
        assert policy.metadata["task"] == name


def test_the_same_policy_gives_the_same_bytes_without_paths_of_this_machine(written, tmp_path):
    program, _, _ = make("choice")
    for suffix in (".edp", ".onnx"):
        write_policy(tmp_path / f"again{suffix}", program, {"task": "choice"})
        content = (tmp_path / f"again{suffix}").read_bytes()
        assert content == (written[0] / f"choice{suffix}").read_bytes()
        assert str(pathlib.Path(edp_jax.__file__).parent).encode() not in content


@pytest.mark.parametrize("suffix", [".edp", ".onnx"])
@pytest.mark.parametrize(
    ("way", "says"),
    [
        ({"num_candidates": 2}, "num_candidates: was fixed when it was exported"),
        ({"seed": 0}, "seed: was fixed when it was exported"),
        ({"execute": 1}, "execute: was fixed when it was exported"),
        ({"eta": 1.0}, "eta: .* the point of a sweep was fixed when it was exported"),
        ({"num_candidate": 2}, "load_policy has no such option.* did you mean num_candidates"),
    ],
)
def test_what_is_fixed_in_a_file_cannot_be_set(written, suffix, way, says):
    with pytest.raises(InputError, match=says):
        edp_jax.load_policy(written[0] / f"choice{suffix}", **way)


@pytest.mark.parametrize("suffix", [".edp", ".onnx"])
def test_a_file_draws_float32_from_a_key_in_a_process_of_float64(written, suffix):
    path, key = written[0] / f"choice{suffix}", jax.random.key(3)
    expected = edp_jax.load_policy(path)(np.ones(3), key)
    with jax.enable_x64(True):
        found = edp_jax.load_policy(path)(np.ones(3), key)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("place", np.linspace(0.02, 0.98, 12))
def test_a_changed_byte_of_a_model_is_found(written, tmp_path, place):
    check_changed(written[0] / "mean.onnx", tmp_path, lambda size: int(place * size))


@pytest.mark.parametrize("part", ["metadata.json", "program.bin", "params/Dense_0/bias.npy"])
def test_a_changed_byte_in_a_part_of_a_program_is_found(written, tmp_path, part):
    with zipfile.ZipFile(written[0] / "mean.edp") as file:
        member = file.getinfo(part)
    place = member.header_offset + 30 + len(part) + member.file_size - 9
    check_changed(written[0] / "mean.edp", tmp_path, lambda size: place)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("mean.edp", lambda content: content + b"more"),
        ("mean.edp", lambda content: b"more" + content),
        ("mean.onnx", lambda content: content + b"\x12\x01x"),  # protobuf adds a producer's name
        ("mean.onnx", lambda content: content + b"\x3a\x04\x52\x02hi"),  # and joins graphs
    ],
)
def test_a_file_with_more_than_a_policy_is_refused(written, tmp_path, name, more):
    longer = tmp_path / name
    longer.write_bytes(more((written[0] / name).read_bytes()))
    with pytest.raises(InputError, match="damaged, or of another version"):
        edp_jax.load_policy(longer)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_with_a_part_twice_is_refused(written, tmp_path):
    with zipfile.ZipFile(written[0] / "mean.edp") as file:
        members = [(name, file.read(name)) for name in file.namelist()]
    with zipfile.ZipFile(tmp_path / "twice.edp", "w") as file:
        for name, content in [("program.bin", b"another"), *members]:
            file.writestr(name, content)
    with pytest.raises(InputError, match="holds more or less than its parts"):
        edp_jax.load_policy(tmp_path / "twice.edp")


def check_changed(source, folder, place) -> None:
    content = bytearray(source.read_bytes())
    content[place(len(content))] ^= 0x40
    changed = folder / f"changed{source.suffix}"
    changed.write_bytes(content)
    with pytest.raises(InputError, match="changed.* damaged, or of another version") as refusal:
        edp_jax.load_policy(changed)
    assert len(str(refusal.value)) <= 300 and "\n" not in str(refusal.value)


def resealed(source, target, change) -> None:
    """Copies an .edp with other metadata or members, and a digest that fits them."""
    with zipfile.ZipFile(source) as file:
        members = {name: file.read(name) for name in file.namelist()}
    described = json.loads(members.pop("metadata.json"))
    del described["sha256"]
    change(described, members)
    parts = [part for name in sorted(members) for part in (name.encode(), members[name])]
    members["metadata.json"] = json.dumps(meta.seal(described, parts)).encode()
    with zipfile.ZipFile(target, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def calling(described, members) -> None:
    """A program whose action is that of a function of the process, by its address."""

    def function(params, inputs):
        shape = jax.ShapeDtypeStruct((2, 2), np.float32)
        return jax.ffi.ffi_call("xla_ffi_python_cpu_callback", shape)(
            inputs["observation"], index=np.uint64(1)
        )

    allowed = jax.export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")
    export = jax.export.export(jax.jit(function), platforms=["cpu"], disabled_checks=[allowed])
    exported = export({}, {"observation": jax.ShapeDtypeStruct((2, 3), np.float32)})
    members["program.bin"] = bytes(exported.serialize())


def pickled(described, members) -> None:
    name = next(name for name in members if name.startswith("params/"))
    head = np.lib.format.magic(1, 0)
    text = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    members[name] = head + len(text).to_bytes(2, "little") + text + pickle.dumps(Bomb())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda described, members: described.update(format=2), "its format is 2, not 1"),
        (lambda described, members: described.update(kind="x"), "holds no policy"),
        (lambda described, members: described.pop("interface"), "KeyError"),
        (lambda described, members: described["interface"].update(execute=9), "execute is 9"),
        (lambda described, members: described["interface"].update(action_dim=9), "shape .1, 2."),
        (lambda described, members: members.pop("params/Dense_0/bias.npy"), "damaged"),
        (lambda described, members: members.pop("program.bin"), "KeyError"),
        (lambda described, members: described["interface"].update(observation_dim=9), "takes .*3,"),
        (lambda described, members: described["interface"].update(observation_dim="x"), "takes"),
        (
            lambda described, members: described["interface"].update(
                random_numbers={"noise": [10**12, 2]}
            ),
            "its program takes",
        ),
        (calling, "its program calls code that is not in the file"),
        (pickled, "damaged"),
    ],
)
def test_an_edp_file_of_another_kind_is_refused(written, tmp_path, monkeypatch, change, says):
    monkeypatch.chdir(tmp_path)
    resealed(written[0] / "mean.edp", "other.edp", change)
    with pytest.raises(InputError, match=says):
        edp_jax.load_policy("other.edp")
    assert not pathlib.Path("executed").exists()


def test_a_model_that_reads_another_file_is_refused(written, tmp_path, monkeypatch):
    """Or whose metadata speak of other inputs; the digests fit."""
    import onnx

    monkeypatch.chdir(tmp_path)

    def write(change) -> None:
        model = onnx.load(written[0] / "mean.onnx")
        described = json.loads(model.metadata_props[0].value)
        del model.metadata_props[:], described["sha256"]
        change(model.graph.initializer, described["interface"])
        graph = model.SerializeToString()
        sealed = meta.seal(described | {"graph_bytes": len(graph)}, [graph])
        onnx.helper.set_model_props(model, {"edp_jax": json.dumps(sealed)})
        pathlib.Path("other.onnx").write_bytes(model.SerializeToString())

    def outside(initializers, interface) -> None:
        weights = max(initializers, key=lambda each: len(each.raw_data))
        pathlib.Path("weights.bin").write_bytes(weights.raw_data)
        onnx.external_data_helper.set_external_data(weights, "weights.bin")
        weights.ClearField("raw_data")

    write(lambda initializers, interface: None)
    edp_jax.load_policy("other.onnx")
    write(outside)
    with pytest.raises(InputError, match="damaged, or of another version"):
        edp_jax.load_policy("other.onnx")
    write(lambda initializers, interface: interface.update(observation_dim=9))
    with pytest.raises(InputError, match="its program takes"):
        edp_jax.load_policy("other.onnx")


@pytest.mark.parametrize("name", ["x.edp", "x.onnx"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", pickle.dumps(Bomb())])
def test_what_is_no_policy_is_refused(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    pathlib.Path(name).write_bytes(content)
    with pytest.raises(InputError, match="damaged, or of another version"):
        edp_jax.load_policy(name)
    assert not pathlib.Path("executed").exists()


def test_names_are_checked(tmp_path):
    program, _, _ = make("mean")
    with pytest.raises(InputError, match="policy.zip: must end in .edp or .onnx"):
        write_policy(tmp_path / "policy.zip", program)
    with pytest.raises(InputError, match="no such file"):
        edp_jax.load_policy(tmp_path / "policy.edp")
    write_policy(tmp_path / ".edp", program)  # all of a name may be its end
    assert edp_jax.load_policy(tmp_path / ".edp").action_dim == 2


def test_a_model_that_acts_otherwise_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("edp_jax.export.onnx_file.TOLERANCE", -1.0)
    program, _, _ = make("mean")
    with pytest.raises(InputError, match="its actions differ from JAX's by .* use --format=jax"):
        write_policy(tmp_path / "policy.onnx", program)
    assert not list(tmp_path.iterdir())


def test_a_model_is_compared_with_products_in_float32(tmp_path, monkeypatch):
    """A GPU or TPU multiplies more coarsely by default, and would differ from every runtime."""
    seen, compiled = [], Program.compiled

    def watched(self):
        function = compiled(self)
        look = lambda: seen.append(jax.config.jax_default_matmul_precision)  # noqa: E731
        return lambda inputs: look() or function(inputs)

    monkeypatch.setattr(Program, "compiled", watched)
    write_policy(tmp_path / "policy.onnx", make("mean")[0])
    assert seen == ["float32"]
