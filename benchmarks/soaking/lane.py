"""One project of one framework: an uninterrupted run, then runs that are killed, resumed and compared with it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stationmaster_server import runs
from stationmaster_server.views import RunView
from stationmaster_trainer import manifest, orders
from stationmaster_trainer.rundir import RUNS, RunDir
from stationmaster_trainer.states import FINAL

from . import strokes
from .account import TARGETS, Account, Kill
from .client import Reply, Server, ServerDiedError
from .projects import SCENARIOS, environment, program
from .readers import Readers, Shelf, history, rows, weights

QUIET_SECONDS = 60.0
"""How long processes of an ended run may be there: a worker without supervisor saves before it ends."""
STUCK_SECONDS = 300.0
LOOK_SECONDS = 0.03
_PREPARING = threading.Lock()
"""Libraries that import their parts when they are asked for are not made for several threads at once."""


class StuckError(Exception):
    """A run that does not get on; the lane gives it up."""


class Lane:
    """`run` until the kills of its framework are done, or the time is over."""

    def __init__(self, framework: str, folder: Path, account: Account, seed: int, deadline: float) -> None:
        self.framework, self._account, self._deadline = framework, account, deadline
        self._scenario = SCENARIOS[framework]
        self._total = int(self._scenario.changes["total_steps"])
        self._project, self._home = folder / "project", folder / "home"
        self._dice = random.Random(f"{seed}-{framework}-{folder.name}")
        self._shelf = Shelf(account)
        self._readers = Readers(self._project, self._total, account)
        self._pool = ThreadPoolExecutor(1)
        self._server: Server | None = None
        self._path: Path | None = None
        """Folder of the program, where it is not the installed one."""
        self._seconds = 0.0
        """Of an uninterrupted attempt, from the call to its end."""
        self._start_seconds = 0.0

    def run(self) -> None:
        """Everything; processes of the lane are gone afterwards."""
        self._project.mkdir(parents=True)
        self._home.mkdir()
        self._path = program(self._home) if self._scenario.stand_in else None
        with _PREPARING:
            self._scenario.prepare(self._project)
        try:
            with self._readers:
                self._all()
            self._shelf.check()
        finally:
            if self._server is not None:
                self._server.close()
            self._pool.shutdown()
            strokes.kill(strokes.processes_of(self._project))

    def _all(self) -> None:
        self._ask("choose_logging", backends=["file"])
        self._ask("check_validation", split=0.2)
        whole = self._whole()
        wanted = (history(whole), rows(whole), weights(self._project, whole))
        while self._account.left(self.framework) > 0 and time.monotonic() < self._deadline:
            try:
                run = self._killed_run()
            except StuckError as error:
                self._account.fault("failed resumes", str(error))
                continue
            if run is not None:
                self._compare(run, wanted)

    # --- one run ------------------------------------------------------------------------------------------------------

    def _whole(self) -> RunDir:
        """The run that nobody kills; how long its parts take is what the strokes are spread over."""
        digest, begun = self._digest(), time.monotonic()
        run = RunDir(self._project / RUNS / self._ask("start_run", digest=digest).facts["run"])
        self._until(lambda: runs.view(run).status.loss is not None, "the first step")
        self._start_seconds = time.monotonic() - begun
        self._until(lambda: runs.view(run).state == "succeeded", "the end of the uninterrupted run")
        self._seconds = time.monotonic() - begun
        self._settle(run)
        self._shelf.keep_run(self._project, run)
        return run

    def _killed_run(self) -> RunDir | None:
        """A run that is killed until it ends or the kills are done; None when it was given up for want of time."""
        digest = self._digest()
        before = {path.name for path in (self._project / RUNS).iterdir()}
        run, order = None, ("start_run", {"digest": digest})
        while True:
            call: Future[Reply] | None = self._pool.submit(self._live().call, order[0], **order[1])
            while True:  # strokes at the same attempt: after a server's death it goes on
                more = self._account.left(self.framework) > 0 and time.monotonic() < self._deadline
                run = self._wait(run, before, self._instant(run) if more else None, call)
                if run is not None and runs.view(run).over:
                    break  # ended before the stroke
                refused = self._strike(run, before, call)
                call = None
                run = run or self._new_run(before)
                if run is None or refused or not self._goes_on(run):
                    break
            self._answer(call)
            run = run or self._new_run(before)
            seen = runs.view(run) if run is not None else None
            if run is not None and seen is not None and seen.over:
                self._settle(run)
                if seen.state == "succeeded":
                    return run
                self._check_end(run, seen)
                order = ("resume_run", {"run": run.name})
                self._shelf.keep_attempt(run.attempt(seen.attempt))
            elif run is not None and seen is not None and seen.attempt > 1:
                order = ("resume_run", {"run": run.name})  # an order that nobody took

    def _wait(
        self, run: RunDir | None, before: set[str], strike: tuple[bool, float] | None, call: Any
    ) -> RunDir | None:
        """Until it is time to strike, or the run is over. `strike`: see `_instant`; None: never."""
        now = time.monotonic()
        limit, strike_at = now + STUCK_SECONDS, now + strike[1] if strike is not None and not strike[0] else None
        while strike_at is None or time.monotonic() < strike_at:
            run = run or self._new_run(before)
            answered = call is None or call.done()
            if run is not None and answered and runs.view(run).over:
                return run
            if strike_at is None and strike is not None and run is not None and runs.view(run).state == "running":
                strike_at = time.monotonic() + strike[1]
            if answered and call is not None and run is None:
                self._answer(call)
                raise StuckError(f"{self.framework}: a start was answered and there is no run")
            if time.monotonic() > limit:
                raise StuckError(f"{self.framework} {run and run.name}: no end within {STUCK_SECONDS:g} s")
            left = LOOK_SECONDS if strike_at is None else strike_at - time.monotonic()
            time.sleep(max(0.0, min(LOOK_SECONDS, left)))
        return run

    def _answer(self, call: Future[Reply] | None) -> bool:
        """Takes the reply of an order that was under way; whether it was refused. A killed server gives none."""
        if call is None:
            return False
        try:
            reply = call.result(STUCK_SECONDS)
        except ServerDiedError:
            return False
        if reply.refused:
            self._account.fault("failed resumes", f"{self.framework}: {reply.text[:300]}")
        return reply.refused

    def _instant(self, run: RunDir | None) -> tuple[bool, float]:
        """Whether the stroke falls into the training, and how many seconds after its begin, or else after the order.

        A third of them fall into the start or resume, which takes most of the time; else there were few kills in
        training, validation and saving.
        """
        if self._dice.random() < 1 / 3:
            return False, self._dice.uniform(0.0, self._start_seconds)
        left = self._total - (self._step(run) if run else 0)
        return True, self._dice.uniform(0.0, (self._seconds - self._start_seconds) * left / self._total)

    # --- kills --------------------------------------------------------------------------------------------------------

    def _strike(self, run: RunDir | None, before: set[str], call: Future[Reply] | None) -> bool:
        """Kills now, and waits for a true state; whether the call that was under way was refused."""
        target, run = self._dice.choice(TARGETS), run or self._new_run(before)
        server = [self._server.pid] if self._server is not None and self._server.alive else []
        pids = strokes.targets(run, target, server)
        if not pids and target != "all three":  # not there yet, or just gone: then its server
            target, pids = "server", server
        phase = strokes.phase(self._project / "checkpoints" / (run.name if run else ""), run)
        self._dice.shuffle(pids)
        died = time.monotonic()
        strokes.kill(pids)
        seconds: float | None = 0.0
        if run is not None and target != "server":
            seconds = strokes.truth(run, died, self._account)
        elif run is not None and not strokes.derivable(run, self._account):
            seconds = None
        if seconds is None:
            self._account.fault("untrue states", f"{run and run.name}: {target} killed in {phase}")
        self._account.killed(Kill(self.framework, target, phase, seconds, len(pids)))
        refused = self._answer(call)
        if server and server[0] in pids:
            self._reconnect(run)
        return refused

    def _reconnect(self, run: RunDir | None) -> None:
        """A new server, which has to see the same run."""
        assert self._server is not None
        self._server.close()
        begun = time.monotonic()
        self._server = None
        reply = self._live().call("poll_status", run=run.name) if run else self._live().call("list_runs")
        self._account.reconnected(time.monotonic() - begun)
        if reply.refused:
            self._account.fault("unreadable states", f"a new server: {reply.text[:300]}")

    # --- between attempts ---------------------------------------------------------------------------------------------

    def _goes_on(self, run: RunDir) -> bool:
        """Whether the attempt still works after the stroke. One that ends is waited for."""
        seen = runs.view(run)
        if seen.alive and seen.state not in FINAL:
            return True
        if seen.state == "queued":
            return False
        self._until(lambda: runs.view(run).over, f"the end of {run.name}")
        return False

    def _settle(self, run: RunDir) -> None:
        """Nothing of the run may be left; the recorder finishes by itself."""
        deadline = time.monotonic() + QUIET_SECONDS
        server = self._server.pid if self._server is not None else 0
        while left := [pid for pid in strokes.processes_of(run.path) if pid != server]:
            if time.monotonic() > deadline:
                self._account.fault(
                    "orphan processes", f"{run.name}: {[(pid, strokes.command(pid)[:200]) for pid in left]}"
                )
                return
            time.sleep(0.02)

    def _check_end(self, run: RunDir, seen: RunView) -> None:
        """Only the kills of this lane may have ended the attempt."""
        expected = {"signal", "supervisor_gone"}
        if seen.status.cause not in expected:
            why = f"{run.name}, attempt {seen.attempt}: {seen.state} ({seen.status.cause}): {seen.status.message}"
            self._account.fault("failed resumes", why[:400])
        if seen.attempt > 1:
            self._check_resumed(run)

    def _check_resumed(self, run: RunDir) -> None:
        """No attempt may begin behind what an earlier one had verified."""
        steps = [manifest.newest_verified(self._project / "checkpoints" / run.name).step]
        order = ordered_step(run)
        if order > steps[0]:
            self._account.fault("failed resumes", f"{run.name}: continued from {order}, the newest is {steps[0]}")

    def _compare(self, run: RunDir, wanted: tuple[Any, Any, Any]) -> None:
        """With the uninterrupted run: steps and validations, rows of the logger, weights."""
        found = (history(run), rows(run), weights(self._project, run))
        for what, one, other in zip(("steps", "rows", "weights"), found, wanted, strict=True):
            if one != other:
                self._account.fault("differing runs", f"{run.name}: {what} are not those of the uninterrupted run")
        self._account.compared(self.framework, len(run.attempts()))
        self._shelf.keep_run(self._project, run)
        self._shelf.check()
        self._readers.finished.add(run.name)

    # --- small things -------------------------------------------------------------------------------------------------

    def _live(self) -> Server:
        if self._server is None:
            self._server = Server(self._project, environment(self._home, self._path), self._home / "server.log")
        return self._server

    def _ask(self, tool: str, **arguments: Any) -> Reply:
        """A call that nobody disturbs; asks again while measuring goes on."""
        while (reply := self._live().call(tool, **arguments)).facts.get("state") == "measuring":
            pass
        if reply.refused:
            raise RuntimeError(f"{self.framework}: {tool}: {reply.text}")
        return reply

    def _digest(self) -> str:
        return str(self._ask("propose_config", changes=self._scenario.changes).facts["digest"])

    def _new_run(self, before: set[str]) -> RunDir | None:
        names = [path.name for path in (self._project / RUNS).iterdir() if not path.name.startswith(".")]
        return next((RunDir(self._project / RUNS / name) for name in names if name not in before), None)

    def _step(self, run: RunDir) -> int:
        return manifest.newest_verified(self._project / "checkpoints" / run.name).step

    def _until(self, look: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + STUCK_SECONDS
        while not look():
            if time.monotonic() > limit:
                raise StuckError(f"{self.framework}: {what} did not come within {STUCK_SECONDS:g} s")
            time.sleep(0.02)


def ordered_step(run: RunDir) -> int:
    """Step that the newest attempt was ordered to continue from."""
    return orders.read(run.attempts()[-1]).resume_step


def guarded(lane: Lane, account: Account) -> threading.Thread:
    """The lane in a thread; what ends it early is a finding."""

    def work() -> None:
        try:
            lane.run()
        except Exception as error:
            account.fault("failed resumes", f"the lane of {lane.framework} broke off: {type(error).__name__}: {error}")

    thread = threading.Thread(target=work)
    thread.start()
    return thread
