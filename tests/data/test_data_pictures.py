"""Images that do not open, that show one colour, or that are nearly the same; sound ones raise no alarm."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from data_files import Files, found
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from stationmaster_trainer import pictures


@cache
def sources() -> list[np.ndarray]:
    return list(load_sample_images().images)


def photographs(n: int) -> list[np.ndarray]:
    """Different parts of the two photographs of scikit-learn."""
    rng = np.random.default_rng(0)
    whole = sources()
    corners = [(at % 2, int(rng.integers(0, 330)), int(rng.integers(0, 540))) for at in range(n)]
    return [whole[which][top : top + 90, left : left + 90] for which, top, left in corners]


def checks(files: Files, *names: str) -> dict[str, str]:
    return {finding.check: finding.message for finding in files.facts(*names).findings}


def test_digits_and_parts_of_photographs_are_silent(files: Files) -> None:
    digits = load_digits()
    folder = files.images("digits", **{str(at): 15 * digits.images[digits.target == at][:30] for at in range(10)})
    assert not {"near_overlap", "near_duplicates", "one_colour", "unreadable"} & set(checks(files, folder))
    every = photographs(60)
    folder = files.images("photos", a=every[:30], b=every[30:])
    assert not {"near_overlap", "near_duplicates", "one_colour", "unreadable"} & set(checks(files, folder))


@pytest.mark.parametrize("how", ["jpeg", "smaller", "brighter"])
def test_changed_copies_across_the_parts_are_told(files: Files, how: str) -> None:
    every = photographs(40)
    files.images("train", a=every[:15], b=every[15:30])
    files.images("val", a=every[30:34], b=every[34:38])
    for at in (3, 20):
        image, place = Image.fromarray(every[at]), files.path / "val" / "ab"[at // 15]
        if how == "jpeg":
            image.save(place / f"copy{at}.jpg", quality=70)
        elif how == "smaller":
            image.resize((60, 60)).save(place / f"copy{at}.png")
        else:
            Image.fromarray((every[at] * 0.8 + 20).astype(np.uint8)).save(place / f"copy{at}.png")
    (finding,) = found(files.facts("train", "val"), "near_overlap")
    assert finding.severity == "warning" and finding.facts["samples"] == 2


def test_every_image_that_does_not_open_is_named(files: Files) -> None:
    every = photographs(160)
    files.images("train", a=every[:80], b=every[80:])
    for at in (31, 77):
        path = files.path / "train" / "a" / f"{at}.jpg"
        Image.fromarray(every[at]).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])  # the header is whole
    (finding,) = [each for each in pictures.of(files.load("train")) if each.check == "unreadable"]
    assert finding.severity == "error" and finding.facts["images"] == ["a/31.jpg", "a/77.jpg"]
    for at in (10, 11):
        (files.path / "train" / "b" / f"{at}.png").write_bytes(b"nothing")
    said = files.refused("train").message
    assert "2 images cannot be read" in said and "b/10.png" in said and "b/11.png" in said


def test_images_of_one_colour_are_told(files: Files) -> None:
    every = photographs(30)
    folder = files.images("train", a=[*every[:15], np.full((90, 90, 3), 7)], b=every[15:])
    (finding,) = found(files.facts(folder), "one_colour")
    assert "'a/15.png'" in finding.message and finding.severity == "warning"


def test_other_sizes_and_modes_are_named(files: Files) -> None:
    every = photographs(30)
    files.images("train", a=[*every[:15], every[0][:40, :50]], b=[*every[15:], every[1][:, :, 0]])
    (note,) = [note for note in files.load("train").notes if "pixels" in note]
    assert "1 of 32 have another size and are resized ('15.png')" in note and "1 of 32 are grey" in note
