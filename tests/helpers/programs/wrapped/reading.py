"""A loop that reads what it has written itself, as programs do that mean to go on by themselves."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import paddle
from parts import OUT, loss_of, make_loader, make_net, may_die, open_log, state, write

BOOK, NOISE = OUT / "book.json", OUT / "noise.npy"


class Book:
    """What was made so far: a list, a best value in a dict, and an array; all as they were left the last time."""

    def __init__(self):
        kept = json.loads(BOOK.read_text()) if BOOK.exists() else {"epochs": [], "best": {"value": None}, "runs": 0}
        self.epochs, self.best, self.runs = kept["epochs"], kept["best"], kept["runs"]
        self.sums = np.array(kept.get("sums", [0.0] * 3))

    def end_epoch(self, loss):
        self.epochs.append(loss)
        self.sums += loss
        self.runs += 1
        if self.best["value"] is None or loss < self.best["value"]:
            self.best["value"] = loss
        BOOK.write_text(json.dumps({**vars(self), "sums": self.sums.tolist()}))


log, curves = open_log()
book = Book()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
# It stays what it was at the start; of the larger one more than is saved for a case that is so rare.
noise = np.load(NOISE) if NOISE.exists() else np.zeros(10_000 if "large" in sys.argv else 10)
loader, step = make_loader(), 0
for epoch in range(3):
    for x, y in loader:
        loss = loss_of(net, x, y) * (1 + book.runs / 10)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step += 1
        curves.add_scalar("loss", float(loss), step)
        log.info("step %d %r", step, float(loss))
        may_die(step)
    deadline = time.monotonic() + 20
    while (
        "PADDLE_RESUME_DIE" in os.environ
        and not [*Path("checkpoint").glob(f"*_step{step // 3 * 3}.pdstates")]
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)  # until the save before is on disk
    book.end_epoch(float(loss))
    np.save(NOISE, noise + epoch + 1)
write(**state(net, optimizer), book=vars(book))
