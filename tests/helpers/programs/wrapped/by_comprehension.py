"""Trains in a comprehension, whose place Python does not tell."""

import paddle
from parts import loss_of, make_loader, make_net

net = make_net()
optimizer = paddle.optimizer.SGD(0.01, parameters=net.parameters())


def train_epoch(loader):
    for x, y in loader:
        loss_of(net, x, y).backward()
        optimizer.step()
        optimizer.clear_grad()
    return 0.0


loader = make_loader()
losses = [train_epoch(loader) for _ in range(2)]
