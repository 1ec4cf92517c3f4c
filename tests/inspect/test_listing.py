"""Which files of a project are taken for data, and what the walk leaves alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stationmaster_server.listing import FORMATS, IMAGES, role_of, walk
from stationmaster_server.project import ProjectFacts, default_data, inspect
from stationmaster_trainer import formats

Write = Callable[[dict[str, "str | bytes"]], Path]
PNG = b"\x89PNG\r\n\x1a\n"


def look(project: Path) -> ProjectFacts:
    return inspect(project, setting=sys.executable, measured=False)


def test_every_format_that_is_listed_is_one_that_the_trainer_reads() -> None:
    assert FORMATS.items() <= formats.SUFFIXES.items()
    assert IMAGES <= formats.IMAGES


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("train.csv", "train"),
        ("data/Training_set.parquet", "train"),
        ("data/val.csv", "val"),
        ("dev/rows.jsonl", "val"),
        ("validation-split.tsv", "val"),
        ("x_test.npz", "test"),
        ("train/test.csv", "test"),
        ("trained.csv", ""),
        ("evaluate_this.csv", ""),
        ("data.csv", ""),
    ],
)
def test_the_role_of_a_file_is_read_from_the_words_of_its_name(path: str, role: str) -> None:
    assert role_of(path) == role


def test_named_parts_are_the_default(write: Write) -> None:
    root = write({f"data/{name}.csv": "x,label\n1,0\n" for name in ("train", "val", "test", "other")})
    data = default_data(look(root))
    assert data[:3] == ("data/train.csv", "data/val.csv", "data/test.csv")


def test_the_only_file_is_the_default_whatever_its_name(write: Write) -> None:
    data = default_data(look(write({"measurements 2024 (final).csv": "x,y\n1,2\n"})))
    assert data == ("measurements 2024 (final).csv", None, None, "the only data in the project")


def test_of_several_unnamed_files_the_largest_is_proposed_and_the_others_told(write: Write) -> None:
    data = default_data(look(write({"a.csv": "x\n", "b.csv": "x\n1\n2\n", "c.csv": "x\n1\n"})))
    assert data.train == "b.csv"
    assert data.why == "the largest; also there: c.csv, a.csv"


def test_a_test_file_alone_is_never_trained_on(write: Write) -> None:
    data = default_data(look(write({"test.csv": "x\n1\n"})))
    assert (data.train, data.why) == ("", "no training data by name")


def test_build_data_of_the_model_file_comes_first(write: Write) -> None:
    code = "import torch\ndef build_model(): ...\ndef build_data(split): ...\n"
    data = default_data(look(write({"model.py": code, "train.csv": "x\n"})))
    assert data == ("build_data", "build_data", None, "model.py:3 defines build_data")


def test_folders_of_images_by_class_are_one_data_set(write: Write) -> None:
    files: dict[str, str | bytes] = {f"photos/{kind}/{at}.png": PNG for kind in ("cat", "dog") for at in range(3)}
    assert [(item.path, item.format) for item in look(write(files)).data] == [("photos", "images")]


def test_image_folders_in_parts_keep_their_roles(write: Write) -> None:
    files: dict[str, str | bytes] = {
        f"data/{part}/{kind}/1.png": PNG for part in ("train", "val") for kind in ("cat", "dog")
    }
    assert default_data(look(write(files)))[:2] == ("data/train", "data/val")


def test_figures_are_not_taken_for_data(write: Write) -> None:
    assert look(write({"figures/loss.png": PNG, "plot.png": PNG, "docs/img/a.png": PNG})).data == ()


def test_many_texts_in_a_folder_are_one_corpus(write: Write) -> None:
    facts = look(write({f"corpus/{at}.txt": "words\n" for at in range(8)}))
    assert [(item.path, item.format, item.bytes) for item in facts.data] == [("corpus", "text", 48)]


def test_lists_of_packages_and_settings_are_not_taken_for_data(write: Write) -> None:
    names = ("requirements.txt", "requirements-dev.txt", "README.txt", "CMakeLists.txt", "config.json", "package.json")
    assert look(write({**dict.fromkeys(names, "x"), "data/rows.json": "[]"})).data[0].path == "data/rows.json"
    assert len(look(write({})).data) == 1


def test_environments_runs_and_caches_are_not_looked_into(write: Write) -> None:
    folders = (".git", ".venv/lib", "node_modules/a", "runs/r1", "checkpoints/r1", ".stationmaster", "a/__pycache__")
    files: dict[str, str | bytes] = {f"{folder}/train.csv": "x\n" for folder in folders}
    root = write({**files, "odd-venv/pyvenv.cfg": "", "odd-venv/lib/model.py": "import torch\n"})
    facts = look(root)
    assert facts.data == ()
    assert facts.framework.name is None


def test_a_link_that_leaves_the_project_is_told_and_not_followed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.csv").write_text("x\n")
    root = write({"model.py": "import torch\n"})
    (root / "train.csv").symlink_to(tmp_path / "elsewhere" / "secret.csv")
    (root / "data").symlink_to(tmp_path / "elsewhere")
    (root / "project-twin").symlink_to(tmp_path / "project2")
    facts = look(root)
    assert facts.data == ()
    messages = [finding.message for finding in facts.findings]
    assert "train.csv is a link that leaves the project; not followed" in messages
    assert "data is a link that leaves the project; not followed" in messages


def test_links_in_circles_end(write: Write) -> None:
    root = write({"a/train.csv": "x\n"})
    (root / "a" / "again").symlink_to(root)
    (root / "self").symlink_to("self")
    assert [item.path for item in look(root).data] == ["a/train.csv"]


def test_a_pipe_in_the_place_of_a_file_is_left_alone(write: Write) -> None:
    root = write({})
    os.mkfifo(root / "model.py")
    os.mkfifo(root / "train.csv")
    assert look(root).data == ()


def test_odd_names_are_kept_and_hostile_ones_left_out(write: Write) -> None:
    kept = ["-rf.csv", "mit leer zeichen.csv", "данные.csv", "數據.csv", "'; DROP TABLE.csv"]
    root = write(dict.fromkeys(kept, "x\n"))
    (root / "line\nbreak.csv").write_text("x\n")
    (root / "turned\u202egnp.csv").write_text("x\n")
    Path(os.fsdecode(os.fsencode(root) + b"/bad\xff.csv")).write_text("x\n")
    facts = look(root)
    assert sorted(item.path for item in facts.data) == sorted(kept)
    assert [f.message for f in facts.findings if "left out" in f.message] == [
        "left out: a name with control characters or invalid text in ."
    ] * 3


def test_a_huge_project_is_cut_and_says_so(write: Write) -> None:
    root = write({f"part{folder}/{at}.py": "" for folder in range(10) for at in range(10)})
    found = walk(root, most=50)
    assert 0 < len(found.python) < 100
    assert found.notes == ["stopped after 50 entries; 6 folders were not looked into"]


def test_a_deep_project_is_cut_and_says_so(write: Write) -> None:
    found = walk(write({"/".join("abcdefghijkl") + "/model.py": ""}))
    assert found.python == []
    assert found.notes == ["folders deeper than 8 levels were not looked into, the first a/b/c/d/e/f/g/h/i"]


def test_a_saved_model_is_found_as_a_folder(write: Write) -> None:
    root = write({"weights/config.json": "{}", "weights/model.safetensors": "", "a.py": "import transformers\n"})
    assert look(root).pretrained == (("weights", "weights/config.json"),)


def test_data_in_several_parts_are_warned_about(write: Write) -> None:
    facts = look(write({f"data/train-0000{at}-of-00003.parquet": "x" for at in range(3)}))
    told = [finding.message for finding in facts.findings if finding.check == "data"]
    assert told == ["data/train-00000-of-00003.parquet is one of several parts, and a run reads one file"]
