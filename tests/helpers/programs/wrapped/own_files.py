"""A loop that reads back what it writes, or clears up before it begins, in each of the ways in which people do."""

import codecs
import gzip
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import paddle
from parts import OUT, loss_of, make_loader, make_net, may_die, open_log, state, write

WAY = sys.argv[1]
HOME = OUT / "own"

# Before the training.
if WAY == "emptied":
    if HOME.exists():
        shutil.rmtree(HOME)
    os.makedirs(HOME)
if WAY == "dated":  # `state` sorts out the folders.
    HOME = OUT / f"run-{time.time_ns()}"
if WAY == "set aside" and HOME.exists():
    HOME.rename(OUT / "own.old")
if WAY == "made":
    os.makedirs(HOME)
HOME.mkdir(exist_ok=True, parents=True)
rows, best, history = HOME / "rows.csv", HOME / "best.pdparams", HOME / "history.json"
if WAY == "removed" and rows.exists():
    os.remove(rows)
if WAY == "turned" and rows.exists():
    os.rename(src=rows, dst=HOME / "rows.old.csv")
if WAY == "unlinked":
    rows.unlink(missing_ok=True)
if WAY == "moved":
    (HOME / "settings.tmp").write_text("{}")
    (HOME / "settings.tmp").replace(HOME / "settings.json")
    assert (HOME / "settings.json").read_text() == "{}"
index = HOME / "snapshots.txt"
if WAY == "indexed" and index.exists():  # It means to go on by itself.
    assert paddle.load(str(HOME / index.read_text().split()[-1]))
held = codecs.open(str(HOME / "held.txt"), "a", "utf-8") if WAY == "dated" else None  # noqa: SIM115
log, curves = open_log()
net = make_net()
if WAY == "reloaded":
    paddle.save(net.state_dict(), str(best))
optimizer = paddle.optimizer.Adam(0.05, parameters=net.parameters())

loader, step = make_loader(), 0
for _epoch in range(3):
    for x, y in loader:
        loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step += 1
        value = float(loss)
        curves.add_scalar("loss", value, step)
        with rows.open("a") as file:
            file.write(f"{step},{value!r}\n")
        # Each goes back in the steps that lie between those in which it is written.
        if WAY == "reloaded" and step % 3 == 2:
            paddle.save(net.state_dict(), str(best))
        elif WAY == "reloaded" and step % 3 == 1:
            net.set_state_dict(paddle.load(str(best)))
        if WAY == "arrays" and step % 3 == 2:
            np.save(HOME / "weight.npy", net[0].weight.numpy())
        elif WAY == "arrays" and step % 3 == 1 and step > 1:
            net[0].weight.set_value(np.load(HOME / "weight.npy"))
        if WAY in ("history", "whole history"):
            known = json.loads(history.read_text()) if history.exists() else []
            target = history.with_suffix(".tmp") if WAY == "whole history" else history
            target.write_text(json.dumps([*known, value]))
            if WAY == "whole history":
                target.replace(history)
        if WAY == "in place":
            if not (HOME / "table.bin").exists():
                (HOME / "table.bin").write_bytes(bytes(8))
            with (HOME / "table.bin").open("r+b") as file:
                counts = file.read()
                file.seek(step % 8)
                file.write(bytes([counts[step % 8] + step]))
        if WAY == "turning" and step % 4 == 2:  # a log that begins anew, its older part beside it
            rows.rename(HOME / "rows.old.csv")
        if WAY == "indexed" and step % 2 == 0:
            paddle.save(net.state_dict(), str(HOME / f"snapshot{step}.pdparams"))
            with index.open("a") as file:
                file.write(f"snapshot{step}.pdparams\n")
            if step > 4:
                (HOME / f"snapshot{step - 4}.pdparams").unlink()
        if WAY == "folders" and step % 2 == 0:
            (HOME / "new").mkdir()
            paddle.save(net.state_dict(), str(HOME / "new" / "net.pdparams"))
            (HOME / "new" / "step.txt").write_text(str(step))
            (HOME / "new").rename(HOME / f"at{step}")
            if step > 4:
                shutil.rmtree(HOME / f"at{step - 4}")
        if WAY == "copied" and step in (5, 8):
            shutil.copy(rows, HOME / "copy.csv")
        if WAY == "packed":
            with gzip.open(HOME / "rows.gz", "at") as file:
                file.write(f"{step}\n")
        if held is not None:
            held.write(f"Schritt {step} · {value!r}\n")
        deadline = time.monotonic() + 20
        while "PADDLE_RESUME_DIE" in os.environ and step > 3 and not [*Path("checkpoint").glob("*.pdstates")]:
            assert time.monotonic() < deadline  # The first save is on disk by then.
            time.sleep(0.01)
        may_die(step)
if held is not None:
    held.close()
    HOME.rename(OUT / "dated")
    for stray in OUT.glob("run-*"):  # the folder of a process that was to go on in that of the first
        shutil.rmtree(stray)
packed = gzip.decompress((HOME / "rows.gz").read_bytes()) if WAY == "packed" else b""
if packed:
    (HOME / "rows.gz").unlink()  # It tells when it was packed.
write(**state(net, optimizer), packed=packed)
