"""TensorBoard event files, written by PyTorch's and TensorBoard's own writers, compared value by value; then damaged at
every byte."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from log_forms import checked, loss
from reading_help import points, same

from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.readers import _crc32c
from stationmaster_trainer.readers._events import Events


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A run as a script with SummaryWriter leaves it: scalars among texts and histograms."""
    import torch
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.add_text("note", "a run")
        for i in range(300):
            writer.add_scalar("train/loss", math.nan if i == 200 else loss(i), i)
            writer.add_scalar("train/lr", 0.001, i)
            writer.add_scalar("train/grad_norm", 1.0 + i / 300, i)
            if i % 50 == 49:
                writer.add_scalar("eval/loss", checked(i), i)
                writer.add_scalar("eval/accuracy", 0.5, i)
                writer.add_histogram("weights", torch.randn(100), i)
    return tmp_path / "run"


def tensorboards(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader: Any = EventAccumulator(str(path), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [(one.step, one.value) for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("events*")
    return path


def test_every_scalar_has_the_value_that_tensorboard_reads(written: Path) -> None:
    events = Events(lambda tag: True)
    events.read(only_file(written))
    theirs = tensorboards(written)
    assert set(events.series) == set(theirs) == events.seen
    for tag, expected in theirs.items():
        series = events.series[tag]
        assert same(list(zip(series.steps, series.values, strict=True)), expected), tag
    assert (events.skipped, events.damage) == (0, "")


def test_the_run_is_read_by_step(written: Path) -> None:
    reading, train, evals = points(written)
    assert reading.columns == {
        "step": "step", "loss": "train/loss", "eval_loss": "eval/loss", "learning_rate": "train/lr",
        "grad_norm": "train/grad_norm",
    }  # fmt: skip
    single = [struct.unpack("<f", struct.pack("<f", loss(i)))[0] for i in range(300)]
    single[200] = math.nan
    assert same(train, list(enumerate(single)))
    assert same(evals, [(i, checked(i)) for i in range(49, 300, 50)], 1e-6)


def test_tensors_of_one_number_are_scalars_in_their_full_precision(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for i in range(60):
            writer.add_scalar("train_loss", loss(i), i, new_style=True, double_precision=True)
            writer.add_scalar("val_loss", checked(i), i, new_style=True)
    _, train, evals = points(tmp_path)
    assert same(train, [(i, loss(i)) for i in range(60)])
    assert same(evals, [(i, checked(i)) for i in range(60)], 1e-6)


def test_kerass_folders_are_one_run_and_its_tensors_are_read(tmp_path: Path) -> None:
    """`train` and `validation`, each with `epoch_loss` as a tensor with its bytes in `tensor_content`."""
    for name, value in (("train", loss), ("validation", checked)):
        (tmp_path / "logs" / name).mkdir(parents=True)
        with (tmp_path / "logs" / name / "events.out.tfevents.1.host.v2").open("wb") as file:
            writer = record_writer(file)
            for i in range(40):
                writer.write(keras_event("epoch_loss", i, value(i)))
                if name == "train":
                    writer.write(keras_event("epoch_learning_rate", i, 0.001))
    reading, train, evals = points(tmp_path / "logs")
    assert reading.columns["loss"] == "train/epoch_loss" and reading.columns["eval_loss"] == "validation/epoch_loss"
    assert reading.columns["learning_rate"] == "train/epoch_learning_rate"
    assert same(train, [(i, loss(i)) for i in range(40)], 1e-6)
    assert same(evals, [(i, checked(i)) for i in range(40)], 1e-6)


def test_the_folders_of_add_scalars_belong_to_the_run(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for i in range(40):
            writer.add_scalars("loss", {"train": loss(i), "val": checked(i)}, i)
    reading, train, evals = points(tmp_path)
    assert (reading.columns["loss"], reading.columns["eval_loss"]) == ("loss_train", "loss_val")
    assert len(train) == len(evals) == 40


def test_a_resumed_run_takes_the_place_of_what_it_does_again(tmp_path: Path) -> None:
    """A second file that begins at an earlier step, as every resume makes one."""
    put(tmp_path / "events.out.tfevents.1.host", [("loss", i, 1.0) for i in range(50)])
    put(tmp_path / "events.out.tfevents.2.host", [("loss", i, 2.0) for i in range(30, 80)])
    reading, train, _ = points(tmp_path)
    assert train == [(i, 1.0 if i < 30 else 2.0) for i in range(80)]
    assert "20 earlier points" in reading.notes[0]


def test_a_session_start_takes_back_what_follows_its_step(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for start, stop, value in ((0, 50, 1.0), (30, 80, 2.0)):
        with SummaryWriter(str(tmp_path), purge_step=start or None) as writer:
            for i in range(start, stop):
                writer.add_scalar("loss", value, i)
    _, train, _ = points(tmp_path)
    assert train == [(i, 1.0 if i < 30 else 2.0) for i in range(80)] == tensorboards(tmp_path)["loss"]


def test_steps_that_begin_anew_with_each_epoch_are_counted_instead(tmp_path: Path) -> None:
    put(tmp_path / "events.out.tfevents.1", [("loss", i % 20, loss(i)) for i in range(100)])
    reading, train, _ = points(tmp_path)
    assert same(train, [(i + 1, loss(i)) for i in range(100)], 1e-6) and "repeat" in reading.notes[0]


def test_validations_by_epoch_beside_losses_by_step_stand_where_the_epochs_end(tmp_path: Path) -> None:
    rows = [("loss", i, loss(i)) for i in range(1, 501)] + [("val_loss", i, checked(i)) for i in range(1, 6)]
    put(tmp_path / "events.out.tfevents.1", rows)
    reading, _, evals = points(tmp_path)
    assert [step for step, _ in evals] == [100, 200, 300, 400, 500]
    assert "by epoch" in reading.notes[0]


def test_a_file_cut_at_any_byte_gives_its_whole_records_or_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    put(path, [("loss", i, loss(i)) for i in range(8)])
    whole, ends = path.read_bytes(), list(record_ends(path.read_bytes()))
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        expected = sum(end <= size for end in ends)
        if expected:
            assert len(points(path)[1]) == expected, size
        else:
            with pytest.raises(FormatError, match=path.name):
                points(path)


def test_a_flipped_bit_costs_one_record_or_ends_the_reading_and_is_said(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    put(path, [("loss", i, loss(i)) for i in range(8)])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 4,)) + whole[place + 1 :])
        try:
            reading, train, _ = points(path)
        except FormatError:
            continue  # the very first header
        assert reading.skipped or "damaged at byte" in " ".join(reading.notes), place
        assert all(math.isclose(value, loss(step), rel_tol=1e-6) for step, value in train), place


def test_checksums_of_many_messages_are_those_of_each(tmp_path: Path) -> None:
    assert _crc32c.checksum(b"123456789") == 0xE3069283  # the check value of CRC-32C (RFC 3720, B.4)
    for length in (1, 3, 4, 5, 40, 255, 256, 257, 700):
        messages = [bytes((7 * i + k * k) % 251 for k in range(length)) for i in range(40)]
        assert _crc32c.masked_many(messages) == [_crc32c.masked(message) for message in messages]


def put(path: Path, scalars: list[tuple[str, int, float]]) -> None:
    """An event file with TensorBoard's own writer."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    with path.open("wb") as file:
        writer = record_writer(file)
        for tag, step, value in scalars:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.write(Event(wall_time=1.0 + step, step=step, summary=summary).SerializeToString())


def record_writer(file: Any) -> Any:
    from tensorboard.summary.writer.record_writer import RecordWriter

    return RecordWriter(file)


def keras_event(tag: str, step: int, value: float) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_FLOAT

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    tensor = TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(), tensor_content=struct.pack("<f", value))
    summary = Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])
    return bytes(Event(wall_time=1.0, step=step, summary=summary).SerializeToString())


def record_ends(data: bytes) -> Iterator[int]:
    place = 0
    while place < len(data):
        place += 16 + int(struct.unpack_from("<Q", data, place)[0])
        yield place
