"""Makes new DataLoaders in each epoch: in a loop, in a function, with data that differ, with a sampler of its own."""

import numpy as np
import paddle
from parts import WORKERS, Samples, argument, loss_of, make_loader, make_net, may_die, open_log, state, validate, write

log, curves = open_log()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
history = []
step = 0


class Stream(paddle.io.IterableDataset):
    def __init__(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        for number in range(29):
            x = np.random.rand(8).astype("float32") + self.epoch
            yield x, np.int64(number % 2)


def loader_of(epoch):
    if argument == "stream":
        return paddle.io.DataLoader(Stream(epoch), batch_size=8)
    if argument == "other_data":
        samples = Samples(29 - epoch)
        samples.x = np.random.RandomState(epoch).rand(29 - epoch, 8).astype("float32")
        samples.epoch = epoch
        return paddle.io.DataLoader(samples, batch_size=8, shuffle=True, num_workers=WORKERS)
    if argument == "own_sampler":
        sampler = paddle.io.DistributedBatchSampler(Samples(29), 8, num_replicas=1, rank=0, shuffle=True)
        sampler.set_epoch(epoch)
        return paddle.io.DataLoader(sampler.dataset, batch_sampler=sampler, num_workers=WORKERS)
    return make_loader(own_generator=argument == "own_generator")


def train(x, y):
    global step
    loss = loss_of(net, x, y)
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()
    step += 1
    curves.add_scalar("loss", float(loss), step)
    may_die(step)


def train_epoch(epoch):
    loader, valid = loader_of(epoch), make_loader(16, shuffle=False)
    for number, (x, y) in enumerate(loader):
        train(x, y)
        history.append((epoch, number))
    curves.add_scalar("valid", validate(net, valid), epoch)


if argument == "function":
    for epoch in range(3):
        train_epoch(epoch)
else:
    for epoch in range(3):
        loader = loader_of(epoch)
        for x, y in loader:
            train(x, y)
        print(loader.num_workers)
write(**state(net, optimizer), step=step, history=history)
