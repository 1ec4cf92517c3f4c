"""Writes what a run would run with now: `python stationmaster_environment.py PROJECT ANSWER.json`."""

import sys

if __name__ == "__main__":
    from stationmaster_measure import prepare

    prepare()
    from pathlib import Path

    from stationmaster_trainer import codec, environment, rundir

    facts, _ = environment.surroundings(Path(sys.argv[1]))
    rundir.create(Path(sys.argv[2]), codec.dumps(facts).encode("utf-8", "replace"))
