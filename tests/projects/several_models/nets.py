"""Three models in one file: one is a part of another one, two stand alone."""

from blocks import Residual
from torch import nn


class Encoder(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = Residual(width)


class Classifier(nn.Module):
    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.head = nn.Linear(width, num_classes)


class Regressor(Residual):
    """Its base is a model class of another file."""
