"""Every framework with every logger: a real run that is warned of, saved, killed, resumed, ended and summarized."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from logbooks import Logbook, Rows, same_figures
from scenarios import SCENARIOS
from story import Story
from support_table import ALONE, cell

from stationmaster_server.config import BACKENDS
from stationmaster_trainer import plugins

Stories = Callable[[str], Story]
NAMES = {"train/loss", "train/learning_rate", "train/grad_norm"}
SLOW = {"flax": pytest.mark.soak}
"""Its story takes as long as that of the others together; `make support` hears it, too."""
pytestmark = pytest.mark.timeout(400)  # the first cell waits for its story


def cells(stage: str) -> Any:
    """Every pair of a framework and a logger, under the id of its cell."""
    pairs = [(framework, backend) for framework in plugins.known("adapters") for backend in BACKENDS]
    return pytest.mark.parametrize(
        ("framework", "backend"),
        [pytest.param(*pair, id=cell(*pair, stage), marks=SLOW.get(pair[0], ())) for pair in pairs],
    )


@cells("train")
def test_the_log_has_the_usual_names_every_figure_and_the_configuration(
    framework: str, backend: str, story: Stories
) -> None:
    told = story(framework)
    log = told.log(backend)
    last = log.at(told.scenario.total_steps)
    assert last.keys() >= NAMES | {"eval/loss", "eval/accuracy"}
    assert all(values.keys() >= NAMES for _, values in log.rows)
    assert_same(log, told.rows)
    assert_config(log, told)


@cells("warn")
def test_the_warning_points_at_a_row_that_the_log_has(framework: str, backend: str, story: Stories) -> None:
    told = story(framework)
    alert, every = told.warned, told.scenario.log_every
    assert alert["severity"] == "warning"
    value, at = re.findall(r"gradient norm ([\d.]+) at step (\d+): [\d.]+ times its running median", alert["message"])[
        0
    ]
    assert alert["first_step"] <= int(at) <= alert["last_step"]
    row = told.log(backend, killed=True).at(-(-int(at) // every) * every)
    assert f"{row['train/grad_norm_max']:.4g}" == value


@cells("checkpoint")
def test_what_a_verified_checkpoint_says_of_itself_stands_in_the_log(
    framework: str, backend: str, story: Stories
) -> None:
    told = story(framework)
    log = told.log(backend, killed=True)
    assert len(told.checkpoints) >= 2
    for step, manifest in told.checkpoints.items():
        assert manifest.eval_loss == pytest.approx(log.at(step)["eval/loss"], rel=log.tolerance, abs=0)
        assert manifest.metrics["accuracy"] == pytest.approx(log.at(step)["eval/accuracy"], rel=log.tolerance, abs=0)


@cells("kill")
def test_after_kill_dash_nine_the_log_has_all_that_the_worker_had_told(
    framework: str, backend: str, story: Stories
) -> None:
    told = story(framework)
    log = told.log(backend, killed=True)
    assert told.killed_state == log.ending["state"] == "failed"
    assert max(told.checkpoints) < log.rows[-1][0] < told.scenario.total_steps
    assert_same(log, told.killed_rows)


@cells("resume")
def test_after_the_resume_no_step_is_missing_and_none_stands_twice(
    framework: str, backend: str, story: Stories
) -> None:
    told = story(framework)
    assert told.resumed_from == max(told.checkpoints) < told.killed_rows[-1][0], "rows were superseded"
    log = told.log(backend)
    assert [step for step, _ in log.rows] == told.scenario.logged_steps
    for step, values in told.killed_rows:
        if step <= told.resumed_from:
            assert same_figures(log.at(step), values, log.tolerance), step
    assert_same(log, told.rows)


@cells("summary")
def test_the_log_says_how_the_run_ended_and_the_report_says_where_the_log_is(
    framework: str, backend: str, story: Stories
) -> None:
    assert_ended(story(framework), backend)


@pytest.mark.soak  # `make support` runs it
@pytest.mark.parametrize("backend", [pytest.param(name, id=cell("pytorch", name, ALONE)) for name in BACKENDS])
def test_a_logger_does_as_well_without_the_others(backend: str, lone_story: Stories) -> None:
    told = lone_story(backend)
    log = told.log(backend)
    assert [step for step, _ in log.rows] == told.scenario.logged_steps
    assert_same(log, told.rows)
    assert_config(log, told)
    assert_ended(told, backend)
    for other in set(BACKENDS) - {backend, "file"}:
        assert not getattr(told.run, other).exists()


def test_every_adapter_has_a_scenario() -> None:
    assert sorted(SCENARIOS) == plugins.known("adapters")


def assert_same(log: Logbook, rows: Rows) -> None:
    """The log has exactly these rows, in order."""
    assert [step for step, _ in log.rows] == [step for step, _ in rows]
    for (step, seen), (_, wanted) in zip(log.rows, rows, strict=True):
        assert same_figures(seen, wanted, log.tolerance), (step, seen, wanted)


def assert_config(log: Logbook, told: Story) -> None:
    """The configuration that the person confirmed, as far as it is numbers."""
    for key, value in told.scenario.changes.items():
        if isinstance(value, int):
            assert float(log.config[key]) == value, key
    assert float(log.config["learning_rate"]) > 0 and log.config["run_name"] == told.run.name


def assert_ended(told: Story, backend: str) -> None:
    """State and best validation, in the log and in the report."""
    log, best = told.log(backend), min((row["eval/loss"], step) for step, row in told.rows if "eval/loss" in row)
    assert told.state == log.ending["state"] == "succeeded"
    assert (float(log.ending["best/eval/loss"]), int(log.ending["best_step"])) == best
    assert told.summary.startswith("Training Complete")
    folder = f"runs/{told.run.name}/"
    place = {"file": "metrics.csv"}.get(backend, backend)
    assert any(where.startswith(f"{folder}{place}") for where in told.summary_facts["logs"]), told.summary_facts["logs"]
    assert (told.run.path / "report.md").is_file()
