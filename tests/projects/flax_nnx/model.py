"""A flax network for handwritten digits, and nothing around it."""

from flax import nnx


class DigitNet(nnx.Module):
    def __init__(self, in_features: int, num_classes: int, hidden: int = 32, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(in_features, hidden, rngs=rngs)
        self.norm = nnx.BatchNorm(hidden, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(hidden, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))
