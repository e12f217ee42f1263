"""What else a `for` goes through: `zip`, `map`, a dict, a bar, and one inside the other; the argument says which."""

import paddle
from parts import argument, loss_of, make_loader, make_net, may_die, open_log, state, write

log, curves = open_log()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
loader = make_loader()
steps, seen = [], []


def train_step(batch, weight=1.0):
    loss = loss_of(net, *batch) * weight
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()
    steps.append(float(loss))
    curves.add_scalar("loss", float(loss), len(steps))
    log.info("step %d %r", len(steps), float(loss))
    may_die(len(steps))
    return weight


def train_epoch(epoch):
    for number, batch in enumerate(loader):
        train_step(batch, 1.0 + epoch + number)
    return epoch


if argument == "map_of_epochs":
    for epoch in map(train_epoch, range(3)):
        seen.append(epoch)
elif argument == "map_of_steps":
    for _ in range(3):
        for weight in map(train_step, loader, (1.0, 2.0, 3.0, 4.0)):
            seen.append(weight)
elif argument == "zip":
    for _ in range(3):
        for batch, weight in zip(loader, (1.0, 2.0, 3.0, 4.0)):
            seen.append(train_step(batch, weight))
elif argument == "zip_that_asks_last":
    for _ in range(3):
        for weight, batch in zip([1.0, 2.0, 3.0, 4.0], loader):
            seen.append(train_step(batch, weight))
elif argument == "zip_of_enumerate":
    for _ in range(3):
        for (number, batch), weight in zip(enumerate(loader, 1), (1.0, 2.0, 3.0, 4.0)):
            seen.append(train_step(batch, weight * number))
elif argument == "dict":
    for weight, batches in {1.0: loader, 2.0: make_loader(17), 3.0: loader}.items():
        for batch in batches:
            seen.append(train_step(batch, weight))
elif argument == "stream":

    class Stream(paddle.io.IterableDataset):
        def __iter__(self):
            return (loader.dataset[index] for index in range(29))

    stream = paddle.io.DataLoader(Stream(), batch_size=8)
    for _ in range(3):
        for batch in stream:
            seen.append(train_step(batch))
elif argument == "bar":
    from tqdm import tqdm

    for _ in tqdm(range(3)):
        for number, batch in tqdm(enumerate(loader, 1)):
            seen.append(train_step(batch, number))
write(**state(net, optimizer), steps=steps, seen=seen)
