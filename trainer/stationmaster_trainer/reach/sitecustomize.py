"""Reaches every Python below a run's command: the folder stands first on PYTHONPATH, so each loads this when it starts.

Costs microseconds until a library is imported that a probe looks into. The person's own sitecustomize is run as well;
whatever fails in here stays in here. No annotations: any Python may load it.
"""

import os
import sys

WATCHED = ("pytorch_lightning", "lightning", "keras", "optax", "tensorflow")
"""Top-level names beside the files of probes/ whose import brings the probes in."""


class Gate:
    """Finds nothing itself; at the first import of a known library it puts the probes' own watcher in its place."""

    def __init__(self, package, attempt, names):
        self.package, self.attempt, self.names = package, attempt, names

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] not in self.names or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        try:
            load(self.package)
            from stationmaster_trainer import reaching

            reaching.begin(self.attempt)
        except Exception:
            return None
        for finder in list(sys.meta_path):
            found = finder.find_spec(fullname, path, target) if hasattr(finder, "find_spec") else None
            if found is not None:
                return found
        return None


def load(package):
    """Makes the run's own copy of the trainer importable by name, whatever stands on the path."""
    if "stationmaster_trainer" in sys.modules:
        return
    from importlib import util

    spec = util.spec_from_file_location(
        "stationmaster_trainer", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    module = util.module_from_spec(spec)
    sys.modules["stationmaster_trainer"] = module
    spec.loader.exec_module(module)


def tell_exceptions(package, attempt):
    """An exception that ends the process is left where the worker finds it, then told as ever."""
    before = sys.excepthook

    def hook(kind, error, traceback):
        try:
            load(package)
            from stationmaster_trainer import reaching

            reaching.ended(attempt, error)
        except Exception:  # nosec B110 # the script's own error goes on in any case
            pass
        before(kind, error, traceback)

    sys.excepthook = hook


def reach(here):
    attempt = os.environ.get("STATIONMASTER_ATTEMPT")
    if sys.version_info < (3, 10) or not attempt or not os.path.isdir(attempt):
        return
    package = os.path.dirname(here)
    tell_exceptions(package, attempt)
    probes = os.path.join(package, "probes")
    names = {name[:-3] for name in os.listdir(probes) if name.endswith(".py") and not name.startswith("_")}
    sys.meta_path.insert(0, Gate(package, attempt, names.union(WATCHED)))


def chain():
    """Runs the sitecustomize that would have been run without this one."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [part for part in sys.path if os.path.abspath(part or ".") != here or not part]
    try:
        reach(here)
    except Exception:  # nosec B110 # an error of ours is never the script's
        pass
    chain()


if __name__ == "sitecustomize":
    main()
