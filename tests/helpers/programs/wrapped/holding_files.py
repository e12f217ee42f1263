"""A loop that opens a file in each epoch and holds it open meanwhile, in a variable or in an attribute."""

import sys

import paddle
from parts import OUT, loss_of, make_loader, make_net, may_die, open_log, state, write


class Book:
    """Opened at its first line."""

    def __init__(self):
        self.file = None

    def line(self, text):
        if self.file is None:
            self.file = open(OUT / "book.txt", "w")  # noqa: SIM115
        self.file.write(text)


log, curves = open_log()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
loader, step, book, file = make_loader(), 0, Book(), None
for epoch in range(3):
    if "variable" in sys.argv:
        file = open(OUT / f"epoch{epoch}.txt", "w")  # noqa: SIM115
    for x, y in loader:
        loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step += 1
        curves.add_scalar("loss", float(loss), step)
        if file is not None:
            file.write(f"{step} {float(loss)!r}\n")
        else:
            book.line(f"{step} {float(loss)!r}\n")
        may_die(step)
    if file is not None:
        file.close()
if book.file is not None:
    book.file.close()
write(**state(net, optimizer))
