"""Starts the worker from a run's `lib/`, or with a second argument the script of a run as it is, below its worker.

A script path, so that no file of the user's project can stand in for ours.
"""

import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    named = [os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    rest = [part for part in sys.path if part and os.path.abspath(part) not in (here, *named)]
    sys.path[:] = [here, *rest]
    if sys.argv[2:]:
        from stationmaster_trainer import scripted as part
    else:
        from stationmaster_trainer import worker as part

    installed = (i for i, part in enumerate(sys.path) if "site-packages" in part or "dist-packages" in part)
    place = next(installed, len(sys.path))
    sys.path[place:place] = named  # behind the standard library: a json.py there must not hide json
    sys.exit(part.main(sys.argv[1]))
