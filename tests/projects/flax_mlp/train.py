"""A flax network with a training step of its own."""

import jax
import optax
from flax import nnx


class MLP(nnx.Module):
    def __init__(self, din: int, dmid: int, dout: int, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(din, dmid, rngs=rngs)
        self.last = nnx.Linear(dmid, dout, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x)))


@nnx.jit
def train_step(model, optimizer, x, y):
    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


if __name__ == "__main__":
    net = MLP(4, 16, 3, rngs=nnx.Rngs(0))
    adam = nnx.Optimizer(net, optax.adamw(1e-3), wrt=nnx.Param)
    print(train_step(net, adam, jax.numpy.ones((2, 4)), jax.numpy.zeros(2, dtype=int)))
