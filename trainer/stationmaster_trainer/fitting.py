"""Learns a Preprocessing from the training part: means, deviations, categories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .columns import Column
from .preprocessing import CHUNK, Feature, Preprocessing, TargetSpec
from .table import Table

DARK = 31
"""Largest 8-bit value of an array that is not taken for an image of 0 … 255."""


def fit(
    table: Table, roles: dict[str, str], target: TargetSpec, task: str, *, scale: bool, missing_values: str,
    left_out: dict[str, str],
) -> Preprocessing:  # fmt: skip
    """Learns means, deviations, categories and target statistics from `table`, which is the training part alone."""
    features = tuple(_fit_feature(table.columns[name], form, scale) for name, form in roles.items())
    if target.kind == "number" and scale:
        target = _fit_target(table, target)
    return Preprocessing("table", task, features, target, missing_values, left_out)


def _fit_feature(column: Column, form: str, scale: bool) -> Feature:
    if form == "category":
        codes, levels = column.texts()
        present = np.unique(codes[codes >= 0])
        return Feature(column.name, form, categories=tuple(levels[code] for code in present.tolist()))
    if form in ("array", "tokens"):
        return _fit_array(column, form, scale)
    mean, std = _statistics(column.numbers().reshape(-1, 1))
    feature = Feature(column.name, form, fill=mean)
    return replace(feature, mean=mean, std=std) if scale and form == "number" else feature


def _fit_array(column: Column, form: str, scale: bool) -> Feature:
    """Flat arrays: each element by itself. More axes or 8-bit: one mean and deviation; 8-bit images over 255."""
    values = column.values
    feature = Feature(column.name, form, shape=values.shape[1:])
    if form == "tokens":
        return feature
    bytes_ = values.dtype == np.uint8
    if bytes_ and values.max() > DARK:
        return replace(feature, std=(255.0,)) if scale else feature
    mean, std = _statistics(values if values.ndim == 2 and not bytes_ else values.reshape(-1, 1))
    return replace(feature, fill=mean, mean=mean, std=std) if scale else replace(feature, fill=mean)


def _statistics(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation (divided by N) per column of (N, width) over the finite cells; 0 and 1 where there is none."""
    width = values.shape[1]
    step = max(1, CHUNK // max(1, width))
    total, squares, count = np.zeros(width), np.zeros(width), np.zeros(width)
    for at in range(0, len(values), step):
        part = values[at : at + step].astype(np.float64)
        good = np.isfinite(part)
        count += good.sum(axis=0)
        total += np.where(good, part, 0.0).sum(axis=0)
    mean = total / np.maximum(count, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(0, len(values), step):
            away = values[at : at + step] - mean
            squares += np.where(np.isfinite(away), away**2, 0.0).sum(axis=0)
        std = np.sqrt(squares / np.maximum(count, 1))
    flat = ~np.isfinite(std) | (std <= 1e-12 * np.abs(mean)) | (std == 0)
    std = np.where(flat, 1.0, std)
    return tuple(mean.tolist()), tuple(std.tolist())


def _fit_target(table: Table, target: TargetSpec) -> TargetSpec:
    columns = [table.columns[name].numbers().reshape(len(table), -1) for name in target.columns]
    mean, std = _statistics(np.concatenate(columns, axis=1))
    return replace(target, mean=mean, std=std)
