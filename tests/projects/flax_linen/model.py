"""A linen network for handwritten digits, and nothing around it."""

from flax import linen as nn


class DigitNet(nn.Module):
    num_classes: int
    hidden: int = 32

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(self.hidden)(x))
        x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
        return nn.Dense(self.num_classes)(x)
