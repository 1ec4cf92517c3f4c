"""Texts that are nearly equal: MinHash over shingles of three words (Broder 1997), candidates by banding.

Case, punctuation and spaces do not count. Everything is computed on the bytes of a chunk at once; what is kept is
80 bytes per text. Not covered: translations and paraphrases, and texts of which one is a small part of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .near import paired

SHINGLE = 3
"""Words of a shingle; Chinese, Japanese and Korean characters are words by themselves."""
HASHES, BANDS = 32, 8
"""Minima that are kept, and the keys they make, of four each: texts that share 80 % are candidates with 98 %."""
ALIKE = 0.8
"""Share of common shingles (Jaccard) from which two texts are near; Lee et al. 2022, "Deduplicating training data"."""
FEWEST = 8
"""Shingles that a text needs to be near another without having the same words."""
CHUNK = 1 << 20
"""Characters that are hashed at a time."""
MOST = 20_000
"""Characters of one text that are looked at."""
_BASE = 0x9E3779B97F4A7C15
"""Odd, so it has an inverse modulo 2⁶⁴."""


@dataclass(frozen=True, eq=False)
class Sketches:
    """N texts."""

    minima: np.ndarray
    """uint16 (N, HASHES): low bits of the smallest hash of any shingle, per hash function (Li & König 2010)."""
    shingles: np.ndarray
    """int32 (N,)."""
    whole: np.ndarray
    """uint64 (N,): hash of all words in their order."""
    words: np.ndarray
    """int32 (N,)."""

    def __len__(self) -> int:
        return len(self.whole)


def sketches(texts: Iterable[str]) -> Sketches:
    """The sketches of texts, in their order."""
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for chunk in _chunks(texts):
        for column, array in zip(columns, _sketched(chunk), strict=True):
            column.append(array)
    return Sketches(*(np.concatenate(columns.pop(0)) for _ in range(4)))  # each freed before the next is joined


def wholes(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of each text the hash of all words in their order, uint64 (N,), and their number, int32 (N,)."""
    found = [(whole, words) for whole, words, _, _ in map(_whole, _chunks(texts))]
    return np.concatenate([whole for whole, _ in found]), np.concatenate([words for _, words in found])


def twins(found: Sketches) -> np.ndarray:
    """int64 (N,): an earlier text that is nearly the same, -1 where there is none. Texts without a word have none."""
    same = paired([found.whole], len(found), lambda a, b: (found.words[a] > 0) & (found.whole[a] == found.whole[b]))
    long = np.flatnonzero(found.shingles >= FEWEST)
    if not len(long):
        return same
    keys = (_band(found.minima[long], band) for band in range(BANDS))
    near = paired(keys, len(long), lambda a, b: _alike(found.minima, long[a], long[b]))
    hit = np.flatnonzero((near >= 0) & (same[long] < 0))
    same[long[hit]] = long[near[hit]]
    return same


def _alike(minima: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether the estimated share of common shingles is large enough, bool (B,)."""
    good = np.zeros(len(a), dtype=bool)
    step = CHUNK // HASHES
    for at in range(0, len(a), step):
        good[at : at + step] = (minima[a[at : at + step]] == minima[b[at : at + step]]).mean(axis=1) >= ALIKE
    return good


def _band(minima: np.ndarray, band: int) -> np.ndarray:
    """uint64 (N,): four minima side by side."""
    width = HASHES // BANDS
    return np.ascontiguousarray(minima[:, band * width : (band + 1) * width]).view(np.uint64).reshape(-1)


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text[:MOST])
        size += len(chunk[-1]) + 1
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    yield chunk


def _sketched(texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """minima, shingles, whole, words of a chunk."""
    n = len(texts)
    whole, words, hashed, owner = _whole(texts)
    minima = np.zeros((n, HASHES), dtype=np.uint16)
    if len(hashed) < SHINGLE:
        return minima, np.zeros(n, dtype=np.int32), whole, words
    joined = hashed[: -SHINGLE + 1].copy()
    for at in range(1, SHINGLE):
        joined = _mixed(joined * np.uint64(_BASE) + hashed[at : len(hashed) - SHINGLE + 1 + at])
    inside = owner[: -SHINGLE + 1] == owner[SHINGLE - 1 :]
    joined, of = (joined[inside] >> np.uint64(32)).astype(np.uint32), owner[: -SHINGLE + 1][inside]
    shingles = np.bincount(of, minlength=n).astype(np.int32)
    if len(joined):
        starts = np.flatnonzero(np.concatenate(([True], of[1:] != of[:-1])))
        for at, (factor, mask) in enumerate(_functions()):
            smallest = np.minimum.reduceat((joined ^ mask) * factor, starts)
            minima[of[starts], at] = (smallest ^ (smallest >> np.uint32(16))).astype(np.uint16)
    return minima, shingles, whole, words


def _whole(texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """whole, words of a chunk; hash and text of each word, as `_words` gives them."""
    hashed, owner = _words(texts)
    words = np.bincount(owner, minlength=len(texts)).astype(np.int32)
    place = np.arange(len(hashed)) - np.repeat(np.cumsum(words) - words, words)
    whole = np.zeros(len(texts), dtype=np.uint64)
    starts = np.flatnonzero(place == 0)
    if len(starts):
        ordered = _mixed(hashed + (place.astype(np.uint64) + np.uint64(1)) * np.uint64(_BASE))
        whole[owner[starts]] = np.add.reduceat(ordered, starts)
    return whole, words, hashed, owner


def _functions() -> Iterator[tuple[np.uint32, np.uint32]]:
    """An odd factor and a mask for each hash function, always the same."""
    drawn = np.random.Philox(key=np.uint64(7)).random_raw(HASHES)
    for value in drawn.tolist():
        yield np.uint32((value >> 32) | 1), np.uint32(value & 0xFFFFFFFF)


def _words(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hash of every word, uint64 (W,), and the text it stands in, int64 (W,)."""
    encoded = [text.lower().encode("utf-8", "surrogatepass") for text in texts]
    data = np.frombuffer(b"\n".join([*encoded, b""]), dtype=np.uint8)
    kind = _kinds()[data]
    before, after = np.concatenate(([0], kind[:-1])), np.concatenate((kind[1:], [0]))
    starts = np.flatnonzero((kind == 2) | ((kind == 1) & (before == 0)))
    stops = np.flatnonzero((kind != 0) & (after != 1)) + 1
    ends = np.cumsum([len(each) + 1 for each in encoded])
    return _hashed(data, starts, stops), np.searchsorted(ends, starts, side="right")


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray:
    """uint8 (256,) by byte: 0 separates, 1 is in a word, 2 begins a character that is a word (U+3000 to U+D7FF)."""
    kinds = np.array([byte >= 128 or chr(byte).isalnum() for byte in range(256)], dtype=np.uint8)
    kinds[0xE3:0xEE] = 2
    return kinds


def _hashed(data: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """uint64 (W,): polynomial hash of each span of bytes, whatever its place, by prefix sums (Karp & Rabin 1987)."""
    values = np.random.Philox(key=np.uint64(3)).random_raw(256)[data]
    powers, inverses = _powers(1 << (len(data) - 1).bit_length() if len(data) else 1)
    sums = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(values * powers[: len(data)], dtype=np.uint64)))
    return _mixed((sums[stops] - sums[starts]) * inverses[starts])


@lru_cache(maxsize=2)
def _powers(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n powers of the base and of its inverse modulo 2⁶⁴."""
    found = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        powers = np.full(n, base, dtype=np.uint64)
        powers[0] = 1
        found.append(np.cumprod(powers, out=powers))
    return found[0], found[1]


def _mixed(hashed: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit of the argument (finaliser of SplitMix64)."""
    hashed = (hashed ^ (hashed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashed = (hashed ^ (hashed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashed ^ (hashed >> np.uint64(31))
