"""README and docs/: code blocks run, names exist, links lead somewhere.

A fenced block of Python or bash is executed, in the order of its page and in a folder of its own,
unless a comment on the line before it says otherwise:

    <!-- not executed: REASON -->
    <!-- executed with: WRITTEN -> RUN; WRITTEN -> RUN -->

The second kind replaces text before the block runs, for instance a dataset by a tiny one. The
folder holds tiny.npz, which is such a dataset, and runs/first, a short run.
"""

import dataclasses
import importlib
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import ml_collections
import pytest

from edp_jax import algorithms, types
from experiments import settings

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LEARNERS = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem[0] != "_")
FENCE = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TINY_RUN = (
    *("--config.num_steps=4", "--config.log_every=2", "--config.eval_every=2"),
    *("--config.eval_episodes=2", "--config.checkpoint_every=4", "--config.batch_size=8"),
    *("--config.hidden_dims=(8,8)", "--config.num_timesteps=10", "--config.sampler_calls=2"),
    *("--config.env_id=Hopper-v4", '--config.env_kwargs={"max_episode_steps": 5}'),
    "--config.reference_scores=(0,100)",
)


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block; `mark` is what the comment before it says."""

    line: int
    mark: str
    language: str
    text: str

    @property
    def is_executed(self) -> bool:
        return self.language in ("python", "bash") and not self.mark.startswith("not executed: ")

    @property
    def code(self) -> str:
        """The text with its replacements."""
        text = self.text
        if self.mark:
            for pair in self.mark.removeprefix("executed with: ").split("; "):
                written, run = pair.split(" -> ")
                assert written in text, f"line {self.line}: {written!r} is not in the block"
                text = text.replace(written, run)
        return text


def blocks(page: pathlib.Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(text.count("\n", 0, match.start()) + 1, match[1] or "", match[2], match[3])
        for match in FENCE.finditer(text)
    ]


def name(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: pathlib.Path) -> str:
    return FENCE.sub("", page.read_text())


def slugs(page: pathlib.Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Of a terminal in which `python` is this one and finds the project."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory, environment, write_tiny) -> pathlib.Path:
    """A folder with tiny.npz, of Hopper's sizes, and runs/first."""
    folder = tmp_path_factory.mktemp("stand_ins")
    write_tiny(folder / "tiny.npz")
    command = ("-m", "experiments.main", "--config=edp_td3:tiny.npz", "--workdir=runs/first")
    subprocess.run([sys.executable, *command, *TINY_RUN], cwd=folder, env=environment, check=True)
    return folder


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.is_executed for b in blocks(p))], ids=name
)
def test_code_blocks_run(page, stand_ins, environment, tmp_path, monkeypatch):
    """That none of them raises, or exits with another code than 0, is all that is checked."""
    folder = tmp_path / "page"
    shutil.copytree(stand_ins, folder)
    monkeypatch.chdir(folder)
    namespace: dict = {}
    for block in filter(lambda block: block.is_executed, blocks(page)):
        if block.language == "python":
            exec(compile(block.code, f"{name(page)}:{block.line}", "exec"), namespace)
        else:
            subprocess.run(["bash", "-euc", block.code], env=environment, check=True)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page):
    text = page.read_text()
    assert text.count("```") == 2 * len(blocks(page))
    for block in blocks(page):
        assert block.language in ("python", "bash", "text"), f"line {block.line}"
        marks = r"|not executed: \w.*|executed with: .+ -> .+"
        assert re.fullmatch(marks, block.mark), f"line {block.line}: {block.mark!r}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in slugs(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_programs_files_learners_and_settings_exist(page):
    text = page.read_text()
    for program in re.findall(r"python -m experiments\.(\w+)", text):
        assert (ROOT / "experiments" / f"{program}.py").is_file(), program
    for path in re.findall(r"`((?:edp_jax|experiments|configs|examples|tests)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
    own = re.findall(r"This is `(\w+)\.py`", text)
    for learner in re.findall(r"--config=(?:configs/)?(\w+)(?:\.py)?", text):
        assert learner in LEARNERS + own, learner
    for key in re.findall(r"--config\.([\w.]+)", text):
        assert key in known_settings() | {"key"}, key


FLAGS_OF = """
import importlib, json, sys
from absl import flags
found = {}
modules = {name: importlib.import_module(f"experiments.{name}") for name in sys.argv[1:]}
for name, module in modules.items():
    before = set(flags.FLAGS)
    module.define_flags()
    found[name] = sorted(set(flags.FLAGS) - before)
    for each in found[name]:
        delattr(flags.FLAGS, each)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def flags_of(environment) -> dict[str, set[str]]:
    """Name of a program -> the flags that it defines."""
    sources = {path.stem: path.read_text() for path in (ROOT / "experiments").glob("*.py")}
    names = [name for name, text in sources.items() if "def define_flags(" in text]
    command = [sys.executable, "-c", FLAGS_OF, *names]
    printed = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return {name: set(found) for name, found in json.loads(printed).items()}


def programs_in(block: str) -> list[tuple[str, set[str]]]:
    """The programs that a bash block calls, with the names of the flags that it gives them."""
    found = []
    lines = re.findall(r"""(?:'[^']*'|"[^"]*"|[^'"\n])+""", block.replace("\\\n", " "))
    for line in lines:
        words = shlex.split(line, comments=True)
        starts = [i for i, word in enumerate(words) if re.search(r"(^|\.)experiments\.\w+$", word)]
        for start, end in itertools.pairwise([*starts, len(words)]):
            given = [word for word in words[start + 1 : end] if re.match(r"--\w", word)]
            flags = {re.split(r"[=.]", word[2:])[0] for word in given}
            found.append((words[start].rpartition(".")[2], flags))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_have_flags_that_their_programs_know_and_need(page, flags_of):
    """Also where the block is not executed."""
    for block in (block for block in blocks(page) if block.language == "bash"):
        for program, given in programs_in(block.text):
            assert given <= flags_of[program] | {"help"}, f"line {block.line}"
            assert required_flags(program) <= given or "help" in given, f"line {block.line}"


def required_flags(program: str) -> set[str]:
    """The flags without which a program does not start, as its source names them."""
    source = (ROOT / "experiments" / f"{program}.py").read_text()
    listed = re.search(r"launch\.run\(\w+, required=\((.*?)\)", source)
    alone = re.findall(r'DEFINE_\w+\(\s*"(\w+)"[^)]*required=True', source)
    return set(re.findall(r'"(\w+)"', listed[1] if listed else "")) | set(alone)


def test_commands_are_found():
    program = "python -m experiments."
    text = f"x=1 {program}evaluate --workdir=a \\\n  --step=3 && {program}report"
    found = [("evaluate", {"workdir", "step"}), ("report", set())]
    assert programs_in(text) == found
    assert required_flags("report") == {"runs", "out"} and required_flags("bandit") == set()
    assert "env_id" in required_flags("collect") and required_flags("distill") == {"workdir"}


def known_settings() -> set[str]:
    """The keys of all learners' configurations, those inside `sweep` with a dot."""
    keys = set()
    for learner in LEARNERS:
        module = importlib.import_module(f"configs.{learner}")
        if hasattr(module, "get_config"):
            for key, value in module.get_config(None).items():
                nested = value if isinstance(value, ml_collections.ConfigDict) else ()
                keys |= {key, *(f"{key}.{inner}" for inner in nested)}
    return keys


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_are_short(page):
    long = [
        line
        for line in page.read_text().splitlines()
        if len(line) > 100
        and not line.startswith(("|", "<!--", "python3 -m venv"))
        and "](" not in line
    ]
    assert long == []


def test_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", ["README.md", "docs/algorithms.md"])
def test_every_learner_is_in_the_table(page):
    cells = re.findall(r"^\| (`.*?`) \|", (ROOT / page).read_text(), re.MULTILINE)
    assert set(algorithms.REGISTRY) <= set(re.findall(r"`(\w+)`", " ".join(cells)))


def test_axes_are_those_of_the_types():
    def table(text: str) -> list[str]:
        return re.search(r"^\| letter \| axis \|\n(?:\|.*\n)+", text, re.MULTILINE)[0].splitlines()

    assert table((ROOT / "docs" / "design.md").read_text()) == table(types.__doc__)


def test_the_table_of_settings_is_generated():
    """To renew it: python -m experiments.settings --format=markdown, between the two marks."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    region = re.search(r"<!-- settings: begin .*-->\n(.*)<!-- settings: end -->", text, re.DOTALL)
    assert region[1].strip() == "\n".join(settings.as_markdown()).strip()


def test_equations_are_where_the_page_says():
    section = (ROOT / "docs" / "algorithms.md").read_text().split("## Where an equation is")[1]
    rows = re.findall(r"^\|.*\|(.*)\|$", section.split("\n## ")[0], re.MULTILINE)[2:]
    names = re.findall(r"`([\w.]+)`", "".join(rows))
    assert len(names) > 20
    for dotted in names:
        found = importlib.import_module("edp_jax")
        for part in dotted.split("."):
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)


def test_the_site_has_every_page():
    listed = set(re.findall(r"- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {page.name for page in PAGES[1:]} | {"results.md", "changelog.md"}


def test_the_site_builds(tmp_path):
    pytest.importorskip("material", reason="needs the extra docs")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path)
    subprocess.run(command, cwd=ROOT, check=True)
    built = {path.parent.name for path in tmp_path.glob("*/index.html")}
    assert {page.stem for page in PAGES[1:]} - {"index"} <= built
