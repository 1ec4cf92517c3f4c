"""Writes scikit-learn's digits (1,797 scanned digits, 8×8 grey values from 0 to 16) to data/digits.csv."""

import csv
from pathlib import Path

from sklearn.datasets import load_digits

digits = load_digits()
path = Path(__file__).parent / "data" / "digits.csv"
path.parent.mkdir(exist_ok=True)
with path.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow([*(f"pixel_{row}_{column}" for row in range(8) for column in range(8)), "label"])
    for pixels, label in zip(digits.data, digits.target, strict=True):
        writer.writerow([*(f"{value:g}" for value in pixels), int(label)])
print(f"{path}: {len(digits.target)} rows")
