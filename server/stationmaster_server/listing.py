"""What lies in a project's folder: Python files, notebooks, data files, image folders, local model folders.

Names, kinds and sizes only; nothing is opened. The walk is bounded and says when it was cut; links that leave the
project are not followed. Not covered: data outside the project.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from . import foreignfolders
from .foreignfolders import Foreign

MAX_ENTRIES = 20_000
"""Entries looked at in the whole walk."""
MAX_DEPTH = 8
MAX_PER_FOLDER = 5_000
MAX_DATA = 100
"""Data files, and image folders, that are listed."""
MANY_TEXTS = 4
"""More text files than this in one folder are one corpus."""
SKIPPED = frozenset(
    {
        "node_modules",
        "__pycache__",
        "runs",
        "checkpoints",
        "wandb",
        "mlruns",
        "lightning_logs",
        "site-packages",
        "build",
    }
    | {"dist", "env", "venv", "htmlcov"}
)
"""Folders that hold no source and no data of the user; every folder whose name starts with a dot as well."""
FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl",
    ".ndjson": "jsonl", ".json": "jsonl", ".npz": "npz", ".txt": "text",
}  # fmt: skip
"""File suffix → format, of those that the trainer reads."""
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
WEIGHTS = frozenset({".safetensors", ".gguf", ".bin"})
BESIDE_MODELS = frozenset(
    {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "model.safetensors.index.json"}
)
"""Files that stand beside a model's config.json and nothing else's."""
_ROLES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "eval": "val", "test": "test", "testing": "test", "holdout": "test",
}  # fmt: skip
_DATA_FOLDERS = frozenset({"data", "dataset", "datasets", "input", "inputs", "corpus"})
_DOCUMENT = re.compile(r"readme(\.\w+)?|[^/]+\.(sh|slurm|sbatch)|makefile|justfile", re.IGNORECASE)
MAX_DOCUMENTS = 20
MAX_CONFIGS, MAX_JSON = 500, 100
MAX_JSON_BYTES = 50_000
"""Larger ones are data."""
_NO_DATA = re.compile(
    r"(requirements|constraints|licen[cs]e|readme|changelog|notice|authors|robots|cmakelists|manifest|vocab|merges|"
    r"labels|classes|todo|notes|environment)[^/]*\.txt",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DataFile:
    """A data file, or a folder of images or texts."""

    path: str
    """Relative to the project."""
    format: str
    """`csv`, `tsv`, `parquet`, `jsonl`, `npz`, `images`, `text`."""
    role: str
    """`train`, `val`, `test`, or empty, from the names of the file and of its folders."""
    bytes: int
    """Size of a file; 0 for a folder."""


@dataclass
class Listing:
    """What the walk found, paths relative to the project in the order found: shallow first, then by name."""

    python: list[str] = field(default_factory=list)
    notebooks: list[str] = field(default_factory=list)
    data: list[DataFile] = field(default_factory=list)
    model_folders: list[str] = field(default_factory=list)
    """Folders with a config.json beside weights or a tokenizer, as Transformers saves a model; GGUF files."""
    config_folders: list[str] = field(default_factory=list)
    """Folders with a config.json alone, which may be a model to train from scratch, or anything."""
    documents: list[str] = field(default_factory=list)
    """Where people write down how a script is started: README files, shell scripts, Makefiles."""
    foreign: list[Foreign] = field(default_factory=list)
    """What other libraries wrote, and stationmaster does not train on by itself."""
    configs: list[str] = field(default_factory=list)
    """YAML files."""
    json: list[str] = field(default_factory=list)
    """Small JSON files."""
    image_folders: list[str] = field(default_factory=list)
    """Folders that hold images themselves."""
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""


@dataclass(frozen=True)
class _Entry:
    name: str
    path: str
    is_folder: bool
    size: int


def walk(project: Path, *, most: int = MAX_ENTRIES) -> Listing:
    """Lists a project, breadth first. Never raises for what lies in it; what cannot be read is noted."""
    found, seen = Listing(), 0
    queue: deque[tuple[str, int]] = deque([("", 0)])
    while queue:
        folder, depth = queue.popleft()
        entries = _entries(project, folder, found)
        seen += len(entries)
        below = _sort_in(folder, entries, found)
        if depth < MAX_DEPTH:
            queue.extend((name, depth + 1) for name in below)
        elif below:
            found.notes.append(f"folders deeper than {MAX_DEPTH} levels were not looked into, the first {below[0]}")
        if seen >= most and queue:
            found.notes.append(f"stopped after {seen:,} entries; {len(queue):,} folders were not looked into")
            break
    images = [DataFile(path, "images", role_of(path), 0) for path in _image_folders(found.image_folders)]
    found.data = [*found.data[:MAX_DATA], *images[:MAX_DATA]]
    return found


def role_of(path: str) -> str:
    """`train`, `val`, `test` or empty: from the words of the file's name, else of its folders, the nearest first."""
    for part in reversed(path.split("/")):
        stem = part.partition(".")[0].lower()
        roles = [_ROLES[word] for word in re.split(r"[^a-z]+", stem) if word in _ROLES]
        if roles:
            return roles[0]
    return ""


def plain(name: str) -> bool:
    """Whether a name can be shown and sent: valid text without control, bidirectional or zero-width characters."""
    return not any(unicodedata.category(char)[0] == "C" for char in name)


def _entries(project: Path, folder: str, found: Listing) -> list[_Entry]:
    entries: list[_Entry] = []
    try:
        with os.scandir(project / folder) as scan:
            for item in scan:
                if len(entries) == MAX_PER_FOLDER:
                    found.notes.append(
                        f"{folder or '.'} has more than {MAX_PER_FOLDER:,} entries; the rest was left out"
                    )
                    break
                entry = _entry(project, folder, item, found)
                if entry is not None:
                    entries.append(entry)
    except OSError as error:
        found.notes.append(f"{folder or '.'} cannot be read: {error.strerror}")
    return sorted(entries, key=lambda entry: entry.name)


def _entry(project: Path, folder: str, item: os.DirEntry[str], found: Listing) -> _Entry | None:
    if not plain(item.name):
        found.notes.append(f"left out: a name with control characters or invalid text in {folder or '.'}")
        return None
    path = f"{folder}/{item.name}" if folder else item.name
    try:
        if item.is_symlink() and not os.path.realpath(item.path).startswith(str(project) + os.sep):
            if not item.name.startswith("."):
                found.notes.append(f"{path} is a link that leaves the project; not followed")
            return None
        about = item.stat()
    except OSError:
        return None
    if stat.S_ISDIR(about.st_mode):
        # A link to a folder inside the project would be met twice, or lead in circles.
        return None if item.is_symlink() else _Entry(item.name, path, True, 0)
    return _Entry(item.name, path, False, about.st_size) if stat.S_ISREG(about.st_mode) else None


def _sort_in(folder: str, entries: list[_Entry], found: Listing) -> list[str]:
    """Puts the files of one folder where they belong; returns the folders to look into."""
    names = {entry.name for entry in entries}
    if folder and ("pyvenv.cfg" in names or "conda-meta" in names):
        return []
    if folder and "config.json" in names:
        if BESIDE_MODELS & names or any(os.path.splitext(name)[1] in WEIGHTS for name in names):
            found.model_folders.append(folder)
            return []
        found.config_folders.append(folder)
    files = [entry for entry in entries if not entry.is_folder and not entry.name.startswith(".")]
    foreign = foreignfolders.look(folder, [(entry.name, entry.size) for entry in files])
    found.foreign += foreign[: foreignfolders.MAX_FOUND - len(found.foreign)]
    if any(one.whole for one in foreign):
        return []
    texts = [entry for entry in files if entry.name.lower().endswith(".txt") and _is_data(entry.path, ".txt")]
    if len(texts) > MANY_TEXTS and folder:
        found.data.append(DataFile(folder, "text", role_of(folder), sum(entry.size for entry in texts)))
        files = [entry for entry in files if not entry.name.lower().endswith(".txt")]
    has_images = False
    for entry in files:
        suffix = os.path.splitext(entry.name)[1].lower()
        if _DOCUMENT.fullmatch(entry.name) and len(found.documents) < MAX_DOCUMENTS:
            found.documents.append(entry.path)
        if suffix in (".yaml", ".yml") and len(found.configs) < MAX_CONFIGS:
            found.configs.append(entry.path)
        if suffix == ".json" and entry.size <= MAX_JSON_BYTES and len(found.json) < MAX_JSON:
            found.json.append(entry.path)
        if suffix == ".py":
            found.python.append(entry.path)
        elif suffix == ".ipynb":
            found.notebooks.append(entry.path)
        elif suffix == ".gguf":
            found.model_folders.append(entry.path)
        elif suffix in IMAGES:
            has_images = True
        elif suffix in FORMATS and _is_data(entry.path, suffix):
            found.data.append(DataFile(entry.path, FORMATS[suffix], role_of(entry.path), entry.size))
    if has_images and folder:
        found.image_folders.append(folder)
    folders = [entry for entry in entries if entry.is_folder]
    return [entry.path for entry in folders if entry.name not in SKIPPED and not entry.name.startswith(".")]


def _is_data(path: str, suffix: str) -> bool:
    """Text and JSON files are often something else: vocabularies, settings, lists of packages."""
    name = path.rpartition("/")[2]
    if suffix == ".txt":
        return not _NO_DATA.fullmatch(name)
    if suffix == ".json":
        return bool(role_of(name)) or bool(_DATA_FOLDERS & set(path.lower().split("/")[:-1]))
    return True


def _image_folders(folders: list[str]) -> list[str]:
    """The folder above two or more folders of images, which are its classes; else an image folder that data are in."""
    found: list[str] = []
    classes = Counter(os.path.dirname(path) for path in folders)
    for path in folders:
        parent = os.path.dirname(path)
        if parent and classes[parent] > 1 and not role_of(path.rpartition("/")[2]):
            found.append(parent)
        elif role_of(path) or (_DATA_FOLDERS | {"images"}) & set(path.lower().split("/")):
            found.append(path)
    return list(dict.fromkeys(found))
