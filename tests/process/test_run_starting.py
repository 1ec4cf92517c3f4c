"""Creating and starting: whole or not at all, once however often asked, secrets nowhere on the disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from process_bench import Bench, eventually, pid_of, processes_of, until

from stationmaster_server import runs
from stationmaster_trainer import codec
from stationmaster_trainer.contract import Launch
from stationmaster_trainer.errors import FormatError, RunError
from stationmaster_trainer.states import FINAL

STARTER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stationmaster_server import runs
from stationmaster_trainer.rundir import RunDir
run = RunDir(Path(sys.argv[1]))
with ThreadPoolExecutor(5) as pool:
    views = pool.map(lambda _: runs.start_attempt(run, sys.executable, wait_seconds=60), range(5))
    print([view.attempt for view in views])
"""


@pytest.mark.fault("F16")
def test_twenty_starts_at_once_from_several_servers_are_one_worker(bench: Bench) -> None:
    run = bench.create(total_steps=100_000)

    def start(_: int) -> str:
        command = [sys.executable, "-c", STARTER, str(run.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == ["[1, 1, 1, 1, 1]"] * 4
    until(run, "running")
    workers = [pid for pid in processes_of(run.path) if "stationmaster_worker" in _command(pid)]
    assert len(workers) == 1 and [attempt.number for attempt in run.attempts()] == [1]


@pytest.mark.fault("F4")
@pytest.mark.parametrize("times", [1, 100])
def test_a_supervisor_that_is_killed_before_it_took_over_is_started_again_but_not_for_ever(
    bench: Bench, times: int
) -> None:
    run = bench.create(total_steps=20)
    script, mark = run.lib / "stationmaster_supervisor.py", bench.project / "deaths"
    script.write_text(
        "import os, signal\n"
        f"deaths = os.open({str(mark)!r}, os.O_RDWR | os.O_CREAT | os.O_APPEND)\n"
        f"if len(os.read(deaths, 999)) < {times}:\n"
        "    os.write(deaths, b'x')\n    os.kill(os.getpid(), signal.SIGKILL)\n" + script.read_text()
    )
    if times == 1:
        runs.start_attempt(run, sys.executable)
        until(run, "succeeded")
    else:
        with pytest.raises(RunError, match="did not come up"):
            runs.start_attempt(run, sys.executable)
    assert len(mark.read_bytes()) == min(times, runs.STARTS)


def test_the_name_of_a_run_is_taken_once(bench: Bench) -> None:
    run = bench.create()
    before = sorted(path for path in run.path.rglob("*") if "__pycache__" not in path.parts)
    with pytest.raises(RunError, match="'toy' is taken"):
        bench.create()
    assert sorted(path for path in run.path.rglob("*") if "__pycache__" not in path.parts) == before
    for name in ("../out", "a/b", "", ".hidden", "-rf"):
        with pytest.raises(RunError):
            runs.create_run(bench.spec(name), "", {})


@pytest.mark.fault("F5")
def test_a_run_that_was_created_and_never_started_is_queued_and_can_be_started(bench: Bench) -> None:
    run = bench.create(total_steps=20)
    seen = runs.view(run)
    assert (seen.state, seen.attempt, seen.alive, seen.over) == ("queued", 0, False, False)
    assert runs.request_stop(run)[0] == "not_running"
    attempt = run.attempt(1)  # the server died after it had written the order
    attempt.control.mkdir(parents=True)
    order = Launch(
        1, (sys.executable, str(run.lib / "stationmaster_worker.py"), str(attempt.path)), str(bench.project), {}, ()
    )
    attempt.launch.write_text(codec.dumps(order))
    assert runs.view(run).state == "queued"
    runs.start_attempt(run, sys.executable)
    assert until(run, lambda status: status.state in FINAL).state == "succeeded"


def test_a_second_start_of_a_going_run_changes_nothing_and_of_an_ended_one_is_refused(bench: Bench) -> None:
    run = bench.start(total_steps=100_000)
    worker = until(run, "running").worker
    assert runs.start_attempt(run, sys.executable).status.worker == worker
    with pytest.raises(RunError, match="is running"):
        runs.start_attempt(run, sys.executable, resume_from="/somewhere", resume_step=1)
    runs.request_stop(run)
    until(run, "stopped")
    with pytest.raises(RunError, match="has ended"):
        runs.start_attempt(run, sys.executable)


def test_a_python_that_is_not_there_is_refused_before_anything_starts(bench: Bench) -> None:
    run = bench.create()
    with pytest.raises(RunError, match="/no/such/python"):
        runs.start_attempt(run, "/no/such/python")
    assert runs.view(run).state == "queued"


def test_a_python_that_cannot_run_is_a_failed_start_not_a_stuck_one(bench: Bench) -> None:
    run = bench.create()
    fake = bench.project / "python"
    fake.write_text("#!/no/such/interpreter\n")
    fake.chmod(0o755)
    runs.start_attempt(run, str(fake))
    status = until(run, lambda status: status.state in FINAL)
    assert (status.state, status.cause) == ("failed", "exception") and "cannot be started" in status.message


def test_a_damaged_spec_refuses_the_start_and_names_the_file(bench: Bench) -> None:
    run = bench.create()
    run.spec.write_text(run.spec.read_text()[:200])
    with pytest.raises(FormatError, match=r"spec\.json"):
        runs.start_attempt(run, sys.executable)


def test_the_run_uses_its_own_copy_of_the_trainer(bench: Bench) -> None:
    run = bench.create(total_steps=20)
    window = run.lib / "stationmaster_trainer" / "window.py"
    window.write_text(window.read_text() + "\nprint('the copy', __file__)\n")
    runs.start_attempt(run, sys.executable)
    until(run, "succeeded")
    assert f"the copy {window}" in run.attempt(1).worker_log.read_text()


def test_a_module_of_the_user_on_pythonpath_shadows_neither_us_nor_the_standard_library(bench: Bench) -> None:
    """`json.py` in the project raises when it is imported."""
    run = bench.create(total_steps=20)
    (bench.project / "stationmaster_trainer.py").write_text("raise RuntimeError('shadowed')\n")
    runs.start_attempt(run, sys.executable, env={"PYTHONPATH": str(bench.project)})
    assert until(run, lambda status: status.state in FINAL).state == "succeeded"


def test_secrets_reach_the_worker_but_no_file_and_no_command_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf-secret-of-the-worker")
    monkeypatch.setenv("WANDB_API_KEY", "wandb-secret-of-the-recorder")
    monkeypatch.setenv("OPENAI_API_KEY", "nobody-s-business")
    monkeypatch.setenv("https_proxy", "http://me:proxy-secret@proxy:80")
    run = bench.start(total_steps=100_000, logging=("file", "tensorboard"))
    status = until(run, lambda status: status.checkpoint is not None)
    worker, supervisor = _environment(pid_of(status, "worker")), _environment(pid_of(status, "supervisor"))
    assert "hf-secret-of-the-worker" in worker and "proxy-secret" in worker and "wandb-secret" not in worker
    assert "nobody-s-business" not in worker + supervisor and "wandb-secret-of-the-recorder" in supervisor
    named = codec.loads(Launch, run.attempt(1).launch.read_bytes()).env_names
    assert {"HF_TOKEN", "https_proxy"} <= set(named) and "WANDB_API_KEY" not in named
    commands = "".join(_command(pid) for pid in processes_of(run.path))
    runs.request_stop(run)
    until(run, "stopped")
    written = b"".join(path.read_bytes() for path in bench.project.rglob("*") if path.is_file())
    for secret in (b"hf-secret", b"wandb-secret", b"proxy-secret", b"nobody-s-business"):
        assert secret not in written + commands.encode()


def test_the_worker_gets_the_defaults_unless_the_user_has_set_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    run = bench.start(total_steps=20)
    env = codec.loads(Launch, run.attempt(1).launch.read_bytes()).env
    assert (env["OMP_WAIT_POLICY"], env["GOMP_SPINCOUNT"], env["PYTHONUNBUFFERED"]) == ("PASSIVE", "7", "1")
    until(run, "succeeded")


def test_a_run_is_found_by_name_or_as_the_newest_and_an_unknown_one_lists_the_known(bench: Bench) -> None:
    first, second = bench.create("first"), bench.create("second")
    os.utime(first.spec, (1, 1))
    assert runs.find_run(bench.project) == second and runs.find_run(bench.project, "first") == first
    with pytest.raises(RunError, match="second, first"):
        runs.find_run(bench.project, "third")
    with pytest.raises(RunError, match="no run in"):
        runs.find_run(Path("/nowhere"))


@pytest.mark.fault("F5")
def test_a_server_that_dies_while_it_makes_a_run_leaves_none(bench: Bench) -> None:
    """Killed at the worst moment: everything is written, only the name is missing."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from process_bench import Bench\n"
        "from stationmaster_server import run_folder; os.rename = lambda *_: os.kill(os.getpid(), 9)\n"
        "bench = Bench(Path(sys.argv[2])); run_folder.create_run(bench.spec('toy'), '', {})"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, here, str(bench.project)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert runs.list_runs(bench.project) == []
    assert bench.create().path.is_dir()


def test_a_resume_continues_the_numbers_and_leaves_superseded_rows_out(bench: Bench) -> None:
    run = bench.start(total_steps=150, fault="exit", at=130, checkpoint_every=100, logging=("file", "tensorboard"))
    first = until(run, "failed")
    eventually(lambda: not runs.view(run).alive)
    place = run.lib / "stationmaster_trainer" / "adapters" / "flax.py"
    place.write_text(place.read_text().replace('step == extra.get("at")', "False"))
    checkpoint = str(bench.project / "checkpoints" / "toy" / "checkpoint-100")
    runs.start_attempt(run, sys.executable, resume_from=checkpoint, resume_step=100)
    status = until(run, "succeeded")
    assert (status.attempt, status.resumed_from, status.step) == (2, 100, 150)
    assert status.revision > first.revision and status.elapsed > first.elapsed
    assert [step for step, _ in status.curve] == list(range(10, 151, 10))
    csv_steps = [row.split(",")[0] for row in run.metrics_csv.read_text().splitlines()[1:]]
    assert csv_steps == [str(step) for step in (*range(10, 101, 10), 100, *range(110, 151, 10), 150)]
    assert len(run.metrics_jsonl.read_text().splitlines()) == len(csv_steps)
    assert (run.attempt(1).final.exists(), run.attempt(2).final.exists()) == (True, True)
    shutil.rmtree(bench.project / "checkpoints")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
