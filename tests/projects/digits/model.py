"""A small network for rows of eight grey values."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int, hidden: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
