"""Every format that is read, with real data where there is some."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import Files, everything
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.jsonl"])
def test_every_table_format_gives_the_same_samples(files: Files, name: str) -> None:
    files.table(
        name, size=[1.5, 2.5, 4.0], alive=[True, False, True], colour=["red", "blue", "red"], label=["a", "b", "a"]
    )
    data = files.load(name, scale_inputs=False)
    inputs, targets = everything(data.train)
    assert inputs.dtype == np.float32 and targets.dtype == np.int64
    assert inputs.tolist() == [[1.5, 1, 0, 1], [2.5, 0, 1, 0], [4.0, 1, 0, 1]]  # size, alive, colour=blue, colour=red
    assert targets.tolist() == [0, 1, 0]
    assert (data.classes, data.task, data.target) == (("a", "b"), "classification", "label")
    assert (data.input_shape, data.outputs) == ((4,), 2)
    assert data.train.rows.tolist() == [1, 2, 3]


def test_breast_cancer_as_csv_is_standardised_classification(files: Files) -> None:
    frame = load_breast_cancer(as_frame=True).frame
    frame.to_csv(files.path / "cancer.csv", index=False)
    data = files.load("cancer.csv", "split")
    inputs, targets = everything(data.train)
    assert data.val is not None and (len(data.train), len(data.val)) == (455, 114)
    assert np.abs(inputs.mean(axis=0)).max() < 1e-5 and np.abs(inputs.std(axis=0) - 1).max() < 1e-5
    original = frame["target"].to_numpy()[data.train.rows - 1]
    assert (targets == original).all()


def test_diabetes_as_parquet_is_regression_in_standardised_targets(files: Files) -> None:
    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame.to_parquet(files.path / "diabetes.parquet")
    data = files.load("diabetes.parquet", "split")
    _, targets = everything(data.train)
    assert (data.task, data.outputs, targets.dtype) == ("regression", 1, np.float32)
    assert abs(float(targets.mean())) < 1e-5
    back = data.preprocessing.unscale_targets(targets)
    assert np.allclose(back, frame["target"].to_numpy()[data.train.rows - 1], atol=1e-3)


def test_an_npz_keeps_the_shape_of_its_samples(files: Files) -> None:
    digits = load_digits()
    data = files.load(files.arrays("digits.npz", x=digits.images, y=digits.target), "split")
    inputs, _ = everything(data.train)
    assert data.input_shape == inputs.shape[1:] == (8, 8)
    assert abs(float(inputs.mean())) < 1e-5 and abs(float(inputs.std()) - 1) < 1e-5
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize("names", ["x_train y_train x_test y_test", "train_images train_labels val_images val_labels"])
def test_an_npz_with_parts_gives_one_for_training_and_one_for_validation(files: Files, names: str) -> None:
    rng = np.random.default_rng(0)
    x, y, val_x, val_y = names.split()
    pixels, labels = rng.integers(0, 256, (30, 3, 4, 4), np.uint8), rng.integers(0, 3, 30)
    name = files.arrays("parts.npz", **{x: pixels, y: labels, val_x: pixels[:12], val_y: labels[:12]})
    data = files.load(name, name)
    inputs, targets = everything(data.train)
    assert data.val is not None and (len(data.train), len(data.val)) == (30, 12)
    assert np.allclose(inputs, pixels.astype(np.float32) / 255)  # bytes are images
    assert (targets == labels).all()


def test_lists_of_equal_length_become_arrays(files: Files) -> None:
    for name in ("l.jsonl", "l.parquet"):
        files.table(name, signal=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [0.0, 1.0, 0.0]], label=["a", "b", "a"])
        data = files.load(name, scale_inputs=False)
        assert everything(data.train)[0].tolist() == [[1, 2, 3], [4, 5, 6], [0, 1, 0]]


def test_an_array_beside_columns_is_laid_out_flat(files: Files) -> None:
    name = files.table("m.jsonl", signal=[[1, 2], [3, 4], [5, 6]], age=[7, 8, 9], label=["a", "b", "a"])
    data = files.load(name, scale_inputs=False)
    assert everything(data.train)[0].tolist() == [[1, 2, 7], [3, 4, 8], [5, 6, 9]]
    assert any("side by side" in note for note in data.notes)


def test_an_image_folder_is_decoded_resized_and_divided(files: Files) -> None:
    rng = np.random.default_rng(0)
    cats, dogs = rng.integers(0, 256, (6, 5, 4)), rng.integers(0, 256, (5, 5, 4))
    files.images("pets", cat=[*cats, np.full((10, 8), 51)], dog=list(dogs))
    data = files.load("pets")
    inputs, targets = data.train.batch(np.array([0, 6, 7]))
    assert (data.input_shape, data.classes, data.task) == ((1, 5, 4), ("cat", "dog"), "classification")
    assert inputs.dtype == np.float32 and targets is not None and targets.tolist() == [0, 0, 1]
    assert np.allclose(inputs[0, 0], cats[0] / 255) and np.allclose(inputs[2, 0], dogs[0] / 255)
    assert np.allclose(inputs[1], 0.2)  # the larger one, brought to 5×4
    assert any("5×4" in note and "1 of 12" in note for note in data.notes)


def test_colour_images_are_channels_first_and_for_flax_channels_last(files: Files) -> None:
    red = np.zeros((3, 4, 3))
    red[:, :, 0] = 255
    files.images("colours", red=[red, red], blue=[red[:, :, ::-1]] * 2)
    first, last = files.load("colours"), files.load("colours", framework="flax")
    assert (first.input_shape, last.input_shape) == ((3, 3, 4), (3, 4, 3))
    a, b = first.train.batch(np.array([2]))[0][0], last.train.batch(np.array([2]))[0][0]
    assert a[0].min() == 1 and a[1:].max() == 0 and (a.transpose(1, 2, 0) == b).all()


def test_an_image_folder_with_train_and_val_uses_both(files: Files) -> None:
    grey = np.full((4, 4), 100)
    files.images("set/train", a=[grey] * 4, b=[grey] * 3)
    files.images("set/val", a=[grey] * 2, b=[grey])
    data = files.load("set", "set")
    assert data.val is not None and (len(data.train), len(data.val)) == (7, 3)
    other = files.load("set/train", "set/val")
    assert other.val is not None and (len(other.train), len(other.val)) == (7, 3)


def test_sixteen_bit_images_are_not_clipped(files: Files) -> None:
    from PIL import Image

    for label in ("a", "b"):
        (files.path / "deep" / label).mkdir(parents=True)
        pixels = np.full((2, 2), 257 * 100 if label == "a" else 0, dtype=np.uint16)
        Image.fromarray(pixels).save(files.path / "deep" / label / "0.png")
    inputs, _ = files.load("deep").train.batch(np.array([0, 1]))
    assert np.allclose(inputs[0], 100 / 255) and np.allclose(inputs[1], 0)


def test_text_becomes_windows_of_characters_shifted_by_one(files: Files) -> None:
    text = "the quick brown fox\njumps over the lazy dog\n" * 20
    data = files.load(files.write("t.txt", text), "split", sequence_length=16)
    inputs, targets = everything(data.train)
    assert (data.task, data.sample_unit, data.input_shape) == ("language_modeling", "sequences", (16,))
    assert inputs.dtype == targets.dtype == np.int64 and inputs.shape == targets.shape
    assert data.preprocessing.decode(inputs[0]) == text[:16] and data.preprocessing.decode(targets[0]) == text[1:17]
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    assert data.vocabulary == data.outputs == len(set(text)) + 1
    assert data.train.rows[:4].tolist() == [1, 1, 2, 3]  # the line each window begins in


def test_a_folder_of_texts_is_one_text_in_sorted_order(files: Files) -> None:
    files.write("books/b.txt", "bbbb" * 10)
    files.write("books/a.txt", "aaaa" * 10)
    data = files.load("books", sequence_length=8)
    assert data.preprocessing.decode(everything(data.train)[0][0]) == "a" * 8


def test_token_arrays_are_language_modelling(files: Files) -> None:
    rows = np.arange(60).reshape(12, 5) % 7
    data = files.load(files.arrays("tokens.npz", tokens=rows), "split")
    inputs, targets = everything(data.train)
    assert (data.task, data.vocabulary, inputs.shape[1:]) == ("language_modeling", 7, (4,))
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    long = files.load(files.arrays("long.npz", tokens=np.arange(100) % 9), "split", sequence_length=10)
    assert long.val is not None and (len(long.train), len(long.val), long.vocabulary) == (7, 1, 9)


def test_tokens_with_a_label_stay_whole_numbers(files: Files) -> None:
    name = files.arrays("t.npz", tokens=np.arange(24).reshape(8, 3), y=np.arange(8) % 2)
    data = files.load(name)
    inputs, _ = everything(data.train)
    assert (inputs.dtype, data.vocabulary, data.task) == (np.int64, 24, "classification")


def test_semicolons_and_decimal_commas_are_recognised_and_said(files: Files) -> None:
    data = files.load(files.write("de.csv", "a;b;label\n1,5;2;x\n2,5;3;y\n0,5;4;x\n"), scale_inputs=False)
    assert everything(data.train)[0].tolist() == [[1.5, 2], [2.5, 3], [0.5, 4]]
    assert any("decimal comma" in note for note in data.notes)


def test_a_byte_order_mark_blank_lines_and_quotes_are_no_trouble(files: Files) -> None:
    content = '\ufeff"a","b, c",label\n\n1,"2",x\n   \n3,4,"y"\n5,6,x\n'
    data = files.load(files.write("odd.csv", content), scale_inputs=False)
    assert everything(data.train)[0].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_class_called_none_or_na_is_a_class(files: Files) -> None:
    data = files.load(files.table("c.csv", size=[1, 2, 3, 4, 5, 6], label=["None", "NA", "None", "NA", "nan", "nan"]))
    assert data.classes == ("NA", "None", "nan")


def test_the_columns_that_pandas_names_by_counting_are_a_header(files: Files) -> None:
    name = files.write("n.csv", "0,1,2,label\n0,1,7,a\n8,9,2,b\n1,2,3,a\n")
    assert files.load(name).input_shape == (3,)


def test_the_fingerprint_follows_the_content_and_not_the_name(files: Files) -> None:
    one = files.load(files.table("a.csv", x=[1, 2, 3], label=["a", "b", "a"])).fingerprint
    (files.path / "a.csv").rename(files.path / "b.csv")
    assert files.load("b.csv").fingerprint == one and len(one) == 64
    assert files.load(files.table("b.csv", x=[1, 2, 4], label=["a", "b", "a"])).fingerprint != one


def test_the_fingerprint_of_a_folder_sees_a_moved_image(files: Files) -> None:
    grey = np.full((4, 4), 100)
    files.images("f", a=[grey, grey + 1], b=[grey + 2])
    before = files.load("f").fingerprint
    (files.path / "f" / "a" / "1.png").rename(files.path / "f" / "b" / "1.png")
    assert files.load("f").fingerprint != before
