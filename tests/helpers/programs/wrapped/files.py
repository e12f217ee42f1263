"""A loop that keeps its own books by `open()`, in each of the ways in which people do."""

import csv
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import paddle
from parts import OUT, loss_of, make_loader, make_net, may_die, open_log, state, write


class Tee:
    """What is printed goes to a file too."""

    def __init__(self, path):
        self.file = open(path, "w", buffering=1)  # noqa: SIM115

    def write(self, text):
        self.file.write(text)


log, curves = open_log()
OUT.mkdir(exist_ok=True)

table_file = open(OUT / "table.csv", "w", newline="")  # noqa: SIM115
table = csv.writer(table_file)
table.writerow(["step", "loss"])
with open(OUT / "rows.csv", "w") as file:
    file.write("step,loss\n")
with open(OUT / "headed.csv", "a") as file:
    if file.tell() == 0:
        file.write("step,loss\n")
with open(OUT / "best.json", "w") as file:
    json.dump({}, file)
with open(OUT / "settings.json", "x") as file:
    file.write(json.dumps({"lr": 0.01}))
settings = json.loads((OUT / "settings.json").read_text())
numbers = (OUT / "numbers.bin").open("ab")
tee = Tee(OUT / "printed.txt")

net = make_net()
optimizer = paddle.optimizer.Adam(settings["lr"], parameters=net.parameters())
loader, step = make_loader(), 0
for epoch in range(3):
    with open(OUT / f"epoch{epoch}.txt", "w") as file:
        file.write(f"epoch {epoch} begins\n")
    for x, y in loader:
        loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step += 1
        value = float(loss)
        curves.add_scalar("loss", value, step)
        table.writerow([step, value])
        for name in ("rows", "headed"):
            with open(OUT / f"{name}.csv", "a") as file:
                file.write(f"{step},{value!r}\n")
        numbers.write(np.float32(value).tobytes())
        print("step", step, value, file=tee)
        if step in (2, 7):
            (OUT / "best.json").write_text(json.dumps({"step": step, "value": value}))
        if step >= 4:  # after a checkpoint, and before the next one
            is_new = not (OUT / "late.txt").exists()
            with (OUT / "late.txt").open("a", encoding="utf-8") as file:
                file.write(f"{'Anfang' * is_new}Schritt {step} · {value!r}\n")
        deadline = time.monotonic() + 20
        while "PADDLE_RESUME_DIE" in os.environ and step > 3 and not [*Path("checkpoint").glob("*.pdstates")]:
            assert time.monotonic() < deadline  # The first save is on disk by then.
            time.sleep(0.01)
        may_die(step)
    with open(OUT / f"epoch{epoch}.txt", "a") as file:
        file.write(f"epoch {epoch} ends with {value!r}\n")
    with open(OUT / "latest.json", "w") as file:
        json.dump({"epoch": epoch, "loss": value}, file)
for each in (table_file, numbers, tee.file):
    each.close()
write(**state(net, optimizer), arguments=sys.argv[1:])
