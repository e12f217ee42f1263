"""Data that keep numbers from sample to sample: in themselves, in their class, and in their module."""

import os
import random

import numpy as np
import paddle
from parts import argument, loss_of, make_net, may_die, open_log, state, write

log, curves = open_log()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
asked = 0
passes = [0]
steps = []


def noise(kept):
    global asked
    asked += 1
    kept.seen.append(asked)
    kept.draw.shuffle(kept.seen)
    type(kept).of_all += 1
    more = 0.01 * (asked % 7) + 0.01 * (kept.of_all % 5) + 0.02 * passes[0] + 0.01 * (kept.seen[0] % 3)
    return np.float32(more + 0.1 * kept.draw.random())


class Map(paddle.io.Dataset):
    of_all = 0

    def __init__(self):
        self.draw, self.seen = random.Random(6), []
        self.x = np.random.RandomState(1).rand(29, 8).astype(np.float32)

    def __getitem__(self, index):
        x = self.x[index] + noise(self)
        return x, np.array([int(x.sum() > 4.3)])

    def __len__(self):
        return len(self.x)


class Stream(paddle.io.IterableDataset):
    of_all = 0

    def __init__(self):
        self.draw, self.seen = random.Random(6), []
        self.x = np.random.RandomState(1).rand(29, 8).astype(np.float32)

    def __iter__(self):
        passes[0] += 1
        for x in self.x:
            x = x + noise(self)
            yield x, np.array([int(x.sum() > 4.3)])


data = Map() if argument == "map" else Stream()
loader = paddle.io.DataLoader(data, batch_size=8, num_workers=int(os.environ.get("PADDLE_RESUME_WORKERS", "0")))
for _ in range(3):
    for batch in loader:
        loss = loss_of(net, *batch)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        steps.append(float(loss))
        curves.add_scalar("loss", float(loss), len(steps))
        log.info("step %d %r", len(steps), float(loss))
        may_die(len(steps))
write(**state(net, optimizer), steps=steps, kept=(asked, passes, data.seen, type(data).of_all, data.draw.random()))
