"""How a run ended stands in every log, also when the disk is slow at the very end."""

from __future__ import annotations

import json
import re
import sqlite3
import sys

from process_bench import Bench, until
from read_back import board, ended

from stationmaster_server import runs

WRITES = r"( +)file\.write\(data\)\n"


def test_loggers_that_close_at_once_know_the_ending_however_slowly_it_is_written(bench: Bench) -> None:
    """Every file that is written at once is opened half a second before it has its content."""
    run = bench.create(total_steps=100, logging=("file", "tensorboard", "trackio"))
    module = run.lib / "stationmaster_trainer" / "rundir.py"
    slow, places = re.subn(WRITES, r"\1__import__('time').sleep(0.5)\n\1file.write(data)\n", module.read_text())
    assert places >= 2
    module.write_text(slow)
    runs.start_attempt(run, sys.executable)
    until(run, "succeeded", 40)
    told = ended(run)
    assert {state.state for state in told.values()} == {"ok"}
    (ending,) = board(run).Tensors("ending")
    assert b"| state | succeeded |" in ending.tensor_proto.string_val[0]
    with sqlite3.connect(run.path / told["trackio"].where) as connection:
        ((config,),) = connection.execute("SELECT config FROM configs").fetchall()
    connection.close()
    assert json.loads(config)["summary"]["state"] == "succeeded"
