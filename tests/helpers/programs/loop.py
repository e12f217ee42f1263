"""A training loop written by hand, with the engine alone: what stands between the marks is all that it takes."""

import sys

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Checkpointer, Feed, RandomStreams
from paddle_resume.found_state.owners import FoundState

if "--forget" in sys.argv:
    sys.argv.remove("--forget")
    FoundState.set_state_dict = lambda owner, state: None


class Points(paddle.io.Dataset):
    """With noise of a generator of their own."""

    def __init__(self):
        self.noise = np.random.default_rng(3)

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return (index / 100 + 0.1 * self.noise.random(4)).astype(np.float32), np.array([index / 50], np.float32)


class Growing(paddle.nn.Layer):
    """Counts its batches, and keeps a mean in a buffer that it replaces each time."""

    def __init__(self):
        super().__init__()
        self.calls, self.seen = 0, []
        self.register_buffer("mean", paddle.zeros([4]), persistable=False)

    def forward(self, x):
        self.calls += 1
        self.seen = [*self.seen[-4:], self.calls]
        self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
        return x * (1 + 0.01 * self.calls) - self.mean.detach() + 0.01 * sum(self.seen)


paddle_resume.seed_everything(5)
model = paddle.nn.Sequential(Growing(), paddle.nn.Linear(4, 8), paddle.nn.Dropout(0.5), paddle.nn.Linear(8, 1))
rate = paddle.optimizer.lr.CosineAnnealingWarmRestarts(0.01, 7)
optimizer = paddle.optimizer.Adam(rate, parameters=model.parameters())

# --- from here
feed, rng = Feed(Points(), batch_size=10, seed=5), RandomStreams(5)
state = {"model": model, "optimizer": optimizer, "data": feed, "rng": rng}
checkpointer = Checkpointer("checkpoint", "points")
restored = checkpointer.restore(state)
step = restored.step if restored else 0
while feed.epoch < 3:
    for inputs, targets in feed.remaining():
        rng.begin_step(step)
        # --- the loop's own step
        loss = paddle.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        rate.step()
        # --- the engine again
        step += 1
        if step % 4 == 0:
            checkpointer.save(step, state)
        if len(sys.argv) > 1 and step == int(sys.argv[1]):
            checkpointer.wait()
            sys.exit("stopped")  # in the place of a kill
    feed.finish_epoch()
checkpointer.save(step, state)
checkpointer.close()
# --- to here
