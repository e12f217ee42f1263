"""A `map` of Python's own, whose place nobody sees, calls the function that trains, once for each loader."""

import paddle
from parts import loss_of, make_loader, make_net, may_die, open_log, state, write

log, curves = open_log()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
step = 0


def train_epoch(loader):
    global step
    total = 0.0
    for x, y in loader:
        loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        total += float(loss)
        step += 1
        curves.add_scalar("loss", total, step)
        may_die(step)
    return total


loaders = [make_loader(), make_loader(21)]
history = []
for _ in range(3):
    history.append(list(map(train_epoch, loaders)))
write(**state(net, optimizer), history=history)
