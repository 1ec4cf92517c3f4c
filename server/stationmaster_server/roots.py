"""Where the server may look: every project lies inside one of the roots it was started with; the model never
names a root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stationmaster_trainer.errors import RunError

MAX_SHOWN = 120
"""Characters of a name that an error repeats."""


@dataclass(frozen=True)
class Roots:
    """Resolved folders; the first is the one that relative paths start from."""

    paths: tuple[Path, ...]

    @classmethod
    def of(cls, folders: list[str] | None) -> Roots:
        """Roots from `--root` values, else the folder the server was started in. RunError for one that is no folder."""
        paths = tuple(Path(folder).expanduser().resolve() for folder in folders or ["."])
        for path in paths:
            if not path.is_dir():
                raise RunError(f"--root {path} is not a folder.", "Name an existing folder.")
        return cls(paths)

    def project(self, project_dir: str) -> Path:
        """The resolved project folder. RunError when it does not exist or lies outside the roots, symbolic links
        followed."""
        if "\0" in project_dir:
            raise RunError("project_dir holds a NUL character.", "Give the path of an existing folder.")
        path = Path(project_dir).expanduser()
        try:
            path = (path if path.is_absolute() else self.paths[0] / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise RunError(f"project_dir {named(project_dir)} cannot be resolved: {_why(error)}.") from None
        if not any(path.is_relative_to(root) for root in self.paths):
            allowed = ", ".join(str(root) for root in self.paths)
            raise RunError(
                f"project_dir {named(project_dir)} lies outside the folders this server may use: {allowed}.",
                "Start the server with --root FOLDER to allow another one.",
            )
        if not _is_folder(path):
            raise RunError(f"project_dir {named(project_dir)} is not an existing folder.", "Give the project's folder.")
        return path


def named(name: str) -> str:
    """A name that somebody gave, in quotes: what does not print stands as an escape, and the length is capped."""
    shown = repr(name)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 1]}…"


def inside(project: Path, name: str, what: str) -> Path:
    """Resolves `name` below the project, symbolic links followed; RunError that names `what` when it escapes."""
    if "\0" in name:
        raise RunError(f"{what} holds a NUL character.", "Give a path inside the project.")
    try:
        path = (project / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(f"{what} {named(name)} cannot be resolved: {_why(error)}.") from None
    if not path.is_relative_to(project):
        raise RunError(f"{what} {named(name)} lies outside the project {project}.", "Move or copy it into the project.")
    return path


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


def _why(error: Exception) -> str:
    """The system's words without the path, which may be long."""
    return str(getattr(error, "strerror", None) or error)[:200]
