"""Goes through a set, which has another order in each process."""

import paddle
from parts import loss_of, make_loader, make_net

net = make_net()
optimizer = paddle.optimizer.SGD(0.01, parameters=net.parameters())
loader = make_loader()
for _ in {"warm", "main"}:
    for x, y in loader:
        loss_of(net, x, y).backward()
        optimizer.step()
        optimizer.clear_grad()
