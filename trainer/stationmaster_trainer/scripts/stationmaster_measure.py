"""Answers one request: `python stationmaster_measure.py REQUEST.json ANSWER.json`, run by any Python, however old."""

import os
import sys


def prepare():
    """Lets `import stationmaster_trainer` find the copy beside this script, or the package around it."""
    here = os.path.dirname(os.path.abspath(__file__))
    named = [os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    own = (here, os.path.dirname(os.path.realpath(__file__)))
    rest = [part for part in sys.path if part and os.path.abspath(part) not in (*own, *named)]
    installed = (i for i, part in enumerate(rest) if "site-packages" in part or "dist-packages" in part)
    place = next(installed, len(rest))
    rest[place:place] = named  # behind the standard library: a json.py there must not hide json
    sys.path[:] = rest
    around = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    package = os.path.join(here, "stationmaster_trainer")
    load(package if os.path.isdir(package) else around)


def load(folder):
    """Imports the package from this folder; the folder above it may hold other packages, so it stays off the path."""
    import importlib.util

    init = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("stationmaster_trainer", init, submodule_search_locations=[folder])
    module = importlib.util.module_from_spec(spec)
    sys.modules["stationmaster_trainer"] = module
    spec.loader.exec_module(module)


def refuse(answer):
    """The answer of a Python that is too old to import the package."""
    import json

    version = ".".join(str(part) for part in sys.version_info[:3])
    message = f"{sys.executable} is Python {version}; training needs 3.10 or newer."
    way_out = "Make a newer environment in the project."
    with open(answer, "w") as file:
        json.dump({"error": "PluginError", "message": message, "way_out": way_out}, file)


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036
        refuse(sys.argv[2])
        sys.exit(0)
    prepare()
    import signal

    from stationmaster_trainer import measure

    if os.environ.get("STATIONMASTER_DEADLINE", "").isdigit():
        signal.alarm(int(os.environ["STATIONMASTER_DEADLINE"]))  # the server that asked may be gone by then
    sys.exit(measure.main(sys.argv[1], sys.argv[2]))
