"""A report of runs whose numbers were computed by hand, and its page in a browser."""

import csv
import html
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.reports import write_report
from edp_jax.runs import outputs

pytest.importorskip("matplotlib", reason="needs matplotlib, of the extra plots")
HOPPER, WALKER = "hopper-medium-v2", "walker2d-medium-v2"


@pytest.fixture(scope="module")
def report(tmp_path_factory, run_writer):
    """The folder of a report on two tasks.

    | task | learner | last of seeds | before that |
    | --- | --- | --- | --- |
    | hopper | edp_td3 | 80, 90, 100 | 40, 95, 60 |
    | hopper | td3_bc | 50, 70; seed 2 is unfinished | 10, 10; 5 |
    | walker | edp_td3 | 60, 100; seed 2 has diverged | 0, 0, 0 |
    | walker | td3_bc | removed | |
    | own.npz | edp_td3 | a return of -7 | -9 |
    """
    root = tmp_path_factory.mktemp("report")
    write = run_writer(root)

    def noisy(means):
        """Two episodes of each evaluation, 1 below and above its mean."""
        return np.asarray(means, float)[:, :, None] + [-1.0, 1.0]

    write("td3-hopper", noisy([[40, 95, 60], [80, 90, 100]]), task=HOPPER, rate=2.0)
    write("bc-hopper", noisy([[10, 10], [50, 70]]), task=HOPPER, learner="td3_bc", rate=4.0)
    costs = {"critic": [[-1.0]], "summary": {"possible_returns": [[-30.0], [-20.0]]}}
    write("bc-2", noisy([[5]]), task=HOPPER, learner="td3_bc", seeds=(2,), num_steps=20, **costs)
    critic = [[1, 1, 1], [9, 9, np.nan]]
    limits = {"possible_returns": [[2.0, 2.0, 0.0], [30.0, 8.0, None]]}
    scores = noisy([[0, 0, 0], [60, 100, 3]])
    write("td3-walker", scores, task=WALKER, critic=critic, summary=limits)
    removed = write("bc-walker", noisy([[1] * 3, [2] * 3]), task=WALKER, learner="td3_bc")
    shutil.rmtree(removed)
    name = "<b>own.npz"
    write("own", [[-9.0], [-7.0]], task=f"/data/{name}", scored=False, start={"machine": "a & b"})
    (root / "runs" / "broken").mkdir()
    (root / "runs" / "broken" / "config.json").write_text("{")
    write_report([str(root / "runs")], str(root / "out"))
    return root / "out"


def table(report, name):
    with open(report / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def row(report, name, **cells):
    (found,) = [row for row in table(report, name) if cells.items() <= row.items()]
    return found


def test_scores_are_means_with_standard_errors(report):
    """Hopper: last 90 and 10 / sqrt(3); OMS of 80, 95, 100; RAT of 60, 92.5, 80."""
    found = row(report, "scores", task=HOPPER, learner="edp_td3")
    assert found["seeds"] == "3 of 3" and found["unit"] == "score"
    numbers = ["last", "last standard error", "OMS", "RAT", "IQM of last"]
    expected = [90, 10 / 3**0.5, 275 / 3, 232.5 / 3, 90]
    np.testing.assert_allclose([float(found[name]) for name in numbers], expected)
    other = row(report, "scores", task="<b>own.npz")
    assert (other["unit"], other["last"], other["last standard error"]) == ("return", "-7.0", "")


def test_wherever_oms_is_there_is_what_it_is_the_best_of(report):
    for name in ("scores", "domains", "aggregates", "paper", "selection"):
        for found in table(report, name):
            assert (found["evaluations least"], found["evaluations most"]) == ("2", "2")
    assert {found["updates"] for found in table(report, "scores")} == {"20"}  # a count: not 20.0


def test_what_did_not_end_is_listed_and_does_not_count(report):
    assert row(report, "scores", task=HOPPER, learner="td3_bc")["seeds"] == "2 of 3"
    assert row(report, "scores", task=WALKER)["seeds"] == "2 of 3"
    states = {(r["task"], r["learner"], r["seed"]): r["state"] for r in table(report, "runs")}
    assert states[HOPPER, "td3_bc", "2"] == "unfinished"
    assert states[WALKER, "edp_td3", "2"] == "diverged"
    assert sum(state == "finished" for state in states.values()) == 8
    assert "cannot be read" in row(report, "runs", state="unreadable")["what is wrong"]


def test_a_removed_run_is_named_as_missing(report):
    found = row(report, "missing", task=WALKER, learner="td3_bc")
    assert found["missing seeds"] == "0, 1, 2"
    assert row(report, "missing", task="<b>own.npz", learner="edp_td3")["missing seeds"] == "1, 2"


def test_averages_and_pairs_are_over_tasks(report):
    """EDP-TD3 in gym: (90 + 80) / 2. It beats TD3+BC on hopper in all pairs of seeds."""
    found = row(report, "domains", domain="gym", learner="edp_td3")
    assert (float(found["last"]), found["tasks"]) == (85.0, "2 of 9")
    assert found["paper's OMS"] == ""  # seven of its tasks are not there
    found = row(report, "improvement")
    assert (found["learner X"], found["learner Y"]) == ("edp_td3", "td3_bc")
    assert [float(found[f"P(X > Y){end}"]) for end in ("", " low", " high")] == [1.0, 1.0, 1.0]
    pooled = row(report, "aggregates", learner="edp_td3")  # 60, 80, 90, 100, 100 without the ends
    assert float(pooled["IQM of last"]) == 90.0 and pooled["tasks"] == f"{HOPPER}, {WALKER}"


def test_the_papers_figures_stand_beside_ours(report):
    """EDP Table 1, hopper-medium-v2: RAT 81.9, OMS 98.6 with TD3; TD3+BC has 59.3."""
    differences = {
        (r["task"], r["learner"], r["measure"]): (float(r["paper"]), float(r["difference"]))
        for r in table(report, "paper")
    }
    assert differences[HOPPER, "edp_td3", "RAT"] == pytest.approx((81.9, 77.5 - 81.9))
    assert differences[HOPPER, "edp_td3", "OMS"] == pytest.approx((98.6, 275 / 3 - 98.6))
    assert differences[HOPPER, "td3_bc", "RAT"] == pytest.approx((59.3, 35 - 59.3))
    assert len(differences) == 5


def test_time_to_a_score(report):
    """The common level on hopper is 81, which two seeds of EDP-TD3 reach: after 10 and 20."""
    found = row(report, "time_to_score", task=HOPPER, learner="edp_td3")
    assert float(found["common level"]) == 81.0 and found["reached by"] == "2 of 3"
    assert (float(found["updates"]), float(found["seconds"])) == (15.0, 7.5)
    found = row(report, "time_to_score", task=HOPPER, learner="td3_bc")  # its own level: 54
    assert (found["reached by"], found["updates"], found["seconds"]) == ("0 of 2", "", "")
    assert (found["own reached by"], float(found["own seconds"])) == ("1 of 2", 5.0)


def test_speed_and_critics(report):
    found = row(report, "speed", task=HOPPER, learner="edp_td3")
    assert (float(found["updates/s, each"]), float(found["updates/s, all"])) == (2.0, 6.0)
    assert float(found["paper's"]) == 116.21
    found = row(report, "critics", task=WALKER, seed="0")  # 1 on the way from 0, then 9
    cells = ("critic/q_mean, last", "lowest", "highest", "smallest possible", "largest possible")
    assert [float(found[cell]) for cell in cells] == [9, 1, 9, 2, 30] and found["outside"] == "no"
    assert row(report, "critics", task=WALKER, seed="1")["outside"] == "yes"
    assert row(report, "critics", task=WALKER, seed="2")["outside"] == "–"
    assert row(report, "critics", learner="td3_bc", seed="0")["outside"] == "–"
    assert row(report, "critics", learner="td3_bc", seed="2")["outside"] == "no"  # from 0 to -20


def test_every_figure_tells_what_is_behind_it(report):
    text = (report / "report.md").read_text()
    figures = text.split("## Figures")[1].split("\n### ")[1:]
    assert len(figures) == 2 + 3 + 2 + 3  # aggregates, curves, selections, critics
    for figure in figures:
        path = re.search(r"\]\((figures/.*\.png)\)", figure)[1]
        assert (report / path).is_file() and (report / path).with_suffix(".svg").is_file()
        assert re.search(r"\d+( to \d+)? seeds? per learner and task", figure)
        assert "Commits: 0123456." in figure and "Machines: " in figure
    assert "1 to 3 seeds per learner and task, 10 runs in all" in text.split("##")[0]
    assert "Machines: a & b; box." in text.split("##")[0]


class Checker(html.parser.HTMLParser):
    """Elements that are left open, ids, and what the page would load."""

    VOID = {"meta", "link", "br", "img", "hr", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.loads, self.links = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name, "#")
            (self.links if value.startswith("#") else self.loads).append(value[1:])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(report):
    text = (report / "report.html").read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and len(set(checker.ids)) == len(checker.ids)
    assert set(checker.links) - {""} <= set(checker.ids)
    assert checker.loads == ["ata:,"]  # the empty icon
    assert not re.search(r"url\((?!#)|@import|<b>own", text)
    assert "&lt;b&gt;own.npz" in text and "prefers-color-scheme: dark" in text


FRAME = """<script>
const found = {{}}, frames = [1280, 400].map((width) => {{
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${{width}}px; height: 900px; border: 0`;
  frame.srcdoc = {page};
  frame.onload = () => {{
    const page = frame.contentDocument, table = page.querySelector("table");
    const heads = [...table.tHead.rows[0].cells], column = heads.findIndex(
      (head) => head.textContent === "updates");
    const cells = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
    const before = cells();
    heads[column].querySelector("button").click();
    const up = cells();
    heads[column].querySelector("button").click();
    found[width] = {{width: page.documentElement.scrollWidth, before, up, down: cells(),
      errors: frame.contentWindow.errors, drawings: page.querySelectorAll("figure svg").length}};
  }};
  document.body.append(frame);
}});
onload = () => {{ document.body.textContent = "found " + JSON.stringify(found) + " end"; }};
</script>"""


def test_the_page_in_a_browser(report, tmp_path):
    """No error, no overflow at 1280 and 400 pixels, and a head of a table sorts it."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs chromium")
    watched = "<head><script>errors = []; onerror = (text) => { errors.push(text); };</script>"
    text = (report / "report.html").read_text().replace("<head>", watched, 1)
    literal = json.dumps(text).replace("</", "<\\/")
    (tmp_path / "page.html").write_text(f"<body>{FRAME.format(page=literal)}</body>")
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000")
    command = (browser, *options, f"--user-data-dir={tmp_path}", "--dump-dom")
    page = (tmp_path / "page.html").as_uri()
    shown = subprocess.run([*command, page], capture_output=True, text=True, timeout=120).stdout
    told = json.loads(html.unescape(re.search("found (.*) end", shown)[1]))
    for width in (1280, 400):
        found = told[str(width)]
        assert found["errors"] == [] and found["width"] <= width and found["drawings"] == 10
        numbers = [float(cell) for cell in found["before"]]
        assert found["up"] == [f"{number:.0f}" for number in sorted(numbers)]
        assert found["down"] == found["up"][::-1]


def test_bad_input_is_told_in_one_line(tmp_path, write_run):
    with pytest.raises(InputError, match="--runs=nowhere: no run there") as error:
        write_report(["nowhere"], str(tmp_path / "out"))
    assert "\n" not in str(error.value)
    run = write_run("a", [[1.0]])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out=.*file/out: cannot be written .*; name a folder"):
        write_report([str(run)], str(tmp_path / "file" / "out"))
    (run / "config.json").write_text("[]")
    with pytest.raises(InputError, match="none of 1 runs can be read; name others. The") as error:
        write_report([str(run)], str(tmp_path / "out"))
    whole = "not the config.json of a run; restore it, or use a new folder" in str(error.value)
    assert whole or str(error.value).endswith(" ...")  # where the path is long
    assert not (tmp_path / "out").exists()


def test_every_run_is_told_in_its_state(tmp_path, write_run):
    """A plan of six seeds in four folders: one sound, one damaged, one failed, one not there."""
    write_run("sound", [[0.0], [1.0]])
    damaged = write_run("damaged", [[5.0], [9.0]], seeds=(1,))
    table_of = damaged / "evaluations.csv"
    table_of.write_text(table_of.read_text().replace("9.0", "90.0"))
    write_run("again", [[0.0], [1.0]], finished=False)
    failed = tmp_path / "runs" / "failed"
    failed.mkdir()
    (failed / "status.json").write_text('{"state": "failed", "reason": "data: not there"}')
    config = {"task": HOPPER, "algorithm": "edp_td3", "sweep": {}}
    plan = {"sound": [0], "damaged": [1], "failed": [2, 5], "gone": [3, 4]}
    records = [
        {"name": name, "settings": config | {"seeds": seeds}} for name, seeds in plan.items()
    ]
    (tmp_path / "runs" / "suite.json").write_text(json.dumps(records))
    report = write_report([str(tmp_path / "runs" / "*")], str(tmp_path / "out"))
    told = "1 learner on 1 task: 1 finished, 1 damaged, 1 repeated, 2 failed, 2 missing (a run is"
    assert report.summary.startswith(told)
    out = tmp_path / "out"
    found = row(out, "runs", state="damaged")
    assert found["last"] == "" and "evaluations.csv has other rows" in found["what is wrong"]
    assert row(out, "scores", task=HOPPER)["last"] == "1.0"
    found = row(out, "runs", state="failed", task=HOPPER, learner="edp_td3", seed="5")
    assert found["what is wrong"].endswith("data: not there")
    assert row(out, "missing", learner="edp_td3")["missing seeds"] == "3, 4"
    assert "suite.json of a sweep lists" in report.tables[-1].note


def test_a_plan_that_cannot_be_read_is_told_and_is_no_run(tmp_path, write_run):
    run = write_run("a", [[1.0]])
    (run.parent / "suite.json").write_text("{")
    report = write_report([str(run)], str(tmp_path / "out"))
    assert report.summary.startswith("1 learner on 1 task: 1 finished (a run is one seed)")
    found = row(tmp_path / "out", "runs", state="no plan")
    assert found["run"] == str(run.parent / "suite.json")


@pytest.mark.parametrize("older", [False, True])
def test_a_ranking_beside_the_runs_is_shown(tmp_path, write_run, older):
    """An older one has no loss on the policy's own actions."""
    run = write_run("a", [[1.0], [2.0]])
    folder = run.parent / "selection"
    folder.mkdir()
    head = "rank,name,workdir,step,value,low,high,pessimistic,as_good"
    own = ("", "", "") if older else (",sample_loss", ",0.125", ",nan")
    signs = f"denoising_loss{own[0]},td_error,excess,distance"
    rows = [
        f"1,a at 20,{run},20,5.5,4,7,5,1,0.25{own[1]},nan,0,0.5",
        f"2,a at 10,{run},10,3,2,4,2.5,0,nan{own[2]},nan,0,0.5",
    ]
    (folder / "ranking.csv").write_text("\n".join([f"{head},{signs}", *rows]) + "\n")
    report = write_report([str(run)], str(tmp_path / "out"))
    assert "take a at 20: all others are estimated lower" in report.tables[-1].note
    first = table(tmp_path / "out", "ranking")[0]
    assert first["estimated return high"] == "7.0" and first["TD error"] == ""
    assert first["sample loss"] == ("" if older else "0.125") and first["distance"] == "0.5"
    assert (tmp_path / "out" / "figures" / "ranking.png").is_file()
    (folder / "ranking.csv").write_text("rank\n1\n")
    with pytest.raises(InputError, match="not the table of a selection"):
        write_report([str(run)], str(tmp_path / "out"))


def test_checkpoints_that_the_data_recommend_are_shown(tmp_path, write_run):
    run = write_run("a", [[1.0, 3.0], [2.0, 4.0]])  # two seeds, which are judged together
    first = {"step": 10, "value": 5.5, "low": 4.0, "high": 7.0, "pessimistic": 5.0, "drift": 0.25}
    last = {"step": 20, "value": 3.0, "low": 2.0, "high": 4.0, "pessimistic": 2.5, "drift": 0.5}
    judged = [first | {"as_good": True}, last | {"as_good": False}]
    outputs.add_judged(str(run), judged)
    write_report([str(run), str(write_run("b", [[1.0]]))], str(tmp_path / "out"))
    rows = table(tmp_path / "out", "recommended")
    assert [row["updates"] for row in rows] == ["10", "20"]
    assert {row["run"] for row in rows} == {str(run)}
    assert rows[0]["estimated return low"] == "4.0" and rows[1]["pessimistic"] == "2.5"
    assert [row["may be as good as the first"] for row in rows] == ["", ""]
    outputs.add_judged(str(run), [judged[0], last | {"as_good": True}])
    write_report([str(run)], str(tmp_path / "out"))
    assert table(tmp_path / "out", "recommended")[1]["may be as good as the first"] == "yes"
