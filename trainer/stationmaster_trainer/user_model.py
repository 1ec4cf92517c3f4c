"""The user's model file: imported by path, its model found and built with the sizes that the data have.

Framework-neutral: the adapter names the base class of its models. Every error of the user's code becomes a ModelError
with the user's own message and the place in their file. Not covered: a file that trains, or waits, on import.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import linecache
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

from . import confirmed
from .errors import ModelError, StationmasterError

ALIASES: dict[str, str] = {
    **dict.fromkeys(("in_features", "input_size", "input_dim", "num_features", "n_features", "din"), "features"),
    **dict.fromkeys(("out_features", "num_classes", "n_classes", "output_size", "output_dim", "dout"), "outputs"),
    **dict.fromkeys(("in_channels", "channels"), "channels"),
    **dict.fromkeys(("height", "image_height"), "height"),
    **dict.fromkeys(("width", "image_width"), "width"),
    **dict.fromkeys(("image_size", "img_size"), "image_size"),
    **dict.fromkeys(("vocab_size", "n_vocab"), "vocabulary"),
    **dict.fromkeys(("sequence_length", "seq_len", "context_length", "block_size"), "sequence_length"),
}
"""Constructor parameter → the size known from the data that it stands for."""
_HIDDEN_WHEN_DEFAULTED = frozenset({"channels", "width"})
"""Names that mean a hidden size about as often: filled only when the constructor demands them."""
_CRITERION = frozenset({"output", "outputs", "logits", "pred", "preds", "prediction", "predictions", "y_pred", "y_hat"})


def load(path: Path, project_dir: Path) -> ModuleType:
    """Imports the user's file. ModelError, with `file:line`, for a syntax error or any exception on import."""
    _extend_path(path.parent, project_dir)
    name, package_root = _module_name(path, project_dir)
    try:
        if package_root is not None:
            _extend_path(package_root)
            return importlib.import_module(name)
        module_spec = importlib.util.spec_from_file_location(name, path, loader=confirmed.loader(name, path))
        if module_spec is None or module_spec.loader is None:
            raise ModelError(f"{path} cannot be imported as Python.")
        module = importlib.util.module_from_spec(module_spec)
        sys.modules[name] = module
        module_spec.loader.exec_module(module)
        return module
    except StationmasterError:
        raise
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise _import_error(error, path, project_dir) from error


Bases = type | tuple[type, ...]
"""Base class of an adapter's models, or several."""


def find_factory(module: ModuleType, model_name: str | None, base: Bases) -> Callable[..., Any]:
    """What makes the model: `model_name`, else `build_model`, else the only model class of the file.

    A class that another model class of the file uses or extends is a part, not the model.
    """
    file = Path(module.__file__ or module.__name__).name
    classes = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    }
    if model_name is not None:
        found = getattr(module, model_name, None)
        if not callable(found):
            known = ", ".join(sorted(classes) + ["build_model"] * hasattr(module, "build_model")) or "none"
            raise ModelError(f"{file} has no class or function {model_name!r}.", f"model_name is one of: {known}.")
        return found  # type: ignore[no-any-return]
    if callable(getattr(module, "build_model", None)):
        return module.build_model  # type: ignore[no-any-return]
    wholes = {name: cls for name, cls in classes.items() if not _is_part(name, classes)} or classes
    if len(wholes) == 1:
        return next(iter(wholes.values()))
    if not wholes:
        raise ModelError(
            f"{file} defines no {_title(base)} class and no build_model().",
            f"Define one {_title(base)} class, or a function build_model() that returns the model.",
        )
    names = ", ".join(sorted(wholes))
    raise ModelError(f"{file} defines several models: {names}.", "Set model_name to the one that is to be trained.")


def known_sizes(
    input_shape: tuple[int, ...],
    outputs: int,
    vocabulary: int | None = None,
    sequence_length: int | None = None,
    channels_last: bool = False,
) -> dict[str, int]:
    """Sizes by the names of `ALIASES`, for one sample of shape (features,), (channels, height, width) or (tokens,).

    `channels_last`: (height, width, channels), and (steps, channels).
    """
    sizes = {"outputs": outputs}
    if vocabulary is not None:
        return {**sizes, "vocabulary": vocabulary, "sequence_length": sequence_length or prod(input_shape)}
    sizes["features"] = prod(input_shape)
    if channels_last:
        input_shape = (*input_shape[-1:], *input_shape[:-1])
    if len(input_shape) == 3:
        channels, height, width = input_shape
        sizes |= {"channels": channels, "height": height, "width": width}
        if height == width:
            sizes["image_size"] = height
    elif len(input_shape) == 2:
        sizes |= {"channels": input_shape[0], "sequence_length": input_shape[1]}
    return sizes


def arguments(factory: Callable[..., Any], sizes: Mapping[str, int], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name: `given` (the configuration's `model_args`) first, else sizes of the data whose name says so.

    Raises ModelError for a required parameter that nothing fills, and for a given one that does not exist.
    """
    name = getattr(factory, "__name__", "the model")
    try:
        parameters = dict(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return dict(given)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = sorted(set(given) - set(parameters))
    if unknown and not takes_any:
        raise ModelError(
            f"{name} has no parameter {unknown[0]!r} (from model_args).",
            f"It takes: {', '.join(parameters) or 'nothing'}.",
        )
    filled = dict(given)
    for key, parameter in parameters.items():
        if key in given or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        size = sizes.get(ALIASES.get(key, ""))
        required = parameter.default is parameter.empty
        if size is not None and (required or _may_replace(key, parameter.default, size)):
            filled[key] = size
        elif required:
            raise ModelError(
                f"{name} needs the argument {key!r}, which the data do not tell.",
                f"Set it: model_args: {{{key}: value}}, or give it a default in the file.",
            )
    return filled


def build(factory: Callable[..., Any], filled: Mapping[str, Any], base: Bases, project_dir: Path) -> Any:
    """Calls the factory. ModelError when it raises (with the place), or returns something that is no `base`."""
    name = getattr(factory, "__name__", "the model")
    try:
        model = factory(**filled)
    except Exception as error:
        if isinstance(error, StationmasterError):
            raise
        shown = ", ".join(f"{key}={value!r}" for key, value in filled.items())
        raise ModelError(
            f"{name}({shown}) failed at {place(error, project_dir)}: {describe(error)}",
            "Correct the file, or set model_args.",
        ) from error
    if not isinstance(model, base):
        raise ModelError(
            f"{name}() returned {type(model).__name__}, not a {_title(base, whole=True)}.",
            "build_model() must return the model.",
        )
    return model


def hook(module: ModuleType, name: str) -> Callable[..., Any] | None:
    """An optional function of the user's file (`build_data`, `loss`, `metrics`); None when the name is no function."""
    found = getattr(module, name, None)
    return found if inspect.isfunction(found) else None


def takes_predictions(loss: Callable[..., Any]) -> bool:
    """Whether a loss is written as loss(predictions, targets) instead of loss(model, batch), by its parameter names."""
    names = list(inspect.signature(loss).parameters)
    return bool(names) and names[0].lower() in _CRITERION


def place(error: BaseException, project_dir: Path) -> str:
    """`file:line` of the innermost frame of the user's own code, relative to the project; else of the innermost one."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_relative(error.filename, project_dir)}:{error.lineno}"
    own = [frame for frame in frames if is_user_file(frame.filename, project_dir)]
    frame = (own or frames)[-1] if frames else None
    return f"{_relative(frame.filename, project_dir)}:{frame.lineno}" if frame else "unknown place"


def is_user_file(filename: str, project_dir: Path) -> bool:
    """Whether a file is the user's own: inside the project, and no installed package or copy of ours."""
    path = Path(filename)
    if not path.is_absolute() or not path.is_relative_to(project_dir.resolve()):
        return False
    return not {"site-packages", "dist-packages", "stationmaster_trainer"} & set(path.parts)


def describe(error: BaseException) -> str:
    """`Type: first lines of its message`, capped."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    return f"{type(error).__name__}: {textwrap.shorten(text, 400)}" if text else type(error).__name__


def _import_error(error: BaseException, path: Path, project_dir: Path) -> ModelError:
    where = place(error, project_dir)
    if isinstance(error, SyntaxError):
        line = (error.text or linecache.getline(error.filename or "", error.lineno or 0)).strip()
        return ModelError(f"{where}: syntax error: {error.msg}: {line!r}", "Correct the line.")
    if isinstance(error, ModuleNotFoundError):
        way_out = f"Install what provides {error.name!r} into {sys.executable}, or put the file beside {path.name}."
    elif isinstance(error, SystemExit):
        way_out = "The file ends the program on import: move that below `if __name__ == '__main__':`."
    else:
        way_out = "Correct the file, so that `import` alone works."
    return ModelError(f"importing {path.name} failed at {where}: {describe(error)}", way_out)


def _extend_path(*folders: Path) -> None:
    """Puts folders before the installed packages, behind the standard library: a user's json.py must not hide json."""
    for folder in folders:
        if str(folder) not in sys.path:
            installed = (i for i, part in enumerate(sys.path) if "site-packages" in part or "dist-packages" in part)
            sys.path.insert(next(installed, len(sys.path)), str(folder))


def _module_name(path: Path, project_dir: Path) -> tuple[str, Path | None]:
    """The name to import a file by, and the folder above its package (None for a file outside a package)."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file() and folder != project_dir.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) > 1 and all(part.isidentifier() for part in parts) and parts[0] not in sys.modules:
        return ".".join(parts if parts[-1] != "__init__" else parts[:-1]), folder
    taken = path.stem in sys.modules or path.stem in sys.stdlib_module_names or not path.stem.isidentifier()
    return (f"stationmaster_entry_{path.stem}" if taken else path.stem), None


def _may_replace(key: str, default: Any, size: int) -> bool:
    """Whether a size of the data replaces a constructor's default: same kind, and no one-logit head for two classes."""
    if ALIASES[key] in _HIDDEN_WHEN_DEFAULTED and key not in ("in_channels", "image_width"):
        return False
    if default is None or isinstance(default, bool) or not isinstance(default, int):
        return default is None
    return not (ALIASES[key] == "outputs" and default == 1 and size == 2)


def _title(base: Bases, whole: bool = False) -> str:
    """The base classes in words, for PyTorch `Module` or, with the library, `torch Module`."""
    bases = base if isinstance(base, tuple) else (base,)
    short = [f"{one.__module__.split('.')[0]} " * whole + one.__name__ for one in bases]
    if len(set(short)) == len(short):
        return " or ".join(short)
    return " or ".join(f"{one.__module__.split('.')[1]}.{one.__name__}" for one in bases)  # nnx.Module or linen.Module


def _is_part(name: str, classes: Mapping[str, type]) -> bool:
    """Whether another class of the file names this one in its body or among its bases."""
    return any(name in _names_used(cls) for other, cls in classes.items() if other != name)


def _names_used(cls: type) -> set[str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _relative(filename: str, project_dir: Path) -> str:
    path = Path(filename)
    root = project_dir.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
