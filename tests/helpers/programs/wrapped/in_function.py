"""The shape of PaddleSeg: one function with `while` around `for data in loader`, EMA as a deep copy, deque of saves."""

import collections
import copy
import shutil

import paddle
from parts import OUT, Smoothed, loss_of, make_loader, make_net, may_die, open_log, state, validate, write


def train(net, optimizer, loader, valid, iterations, save_every):
    log, curves = open_log()
    ema = copy.deepcopy(net)
    scaler = paddle.amp.GradScaler(init_loss_scaling=64.0, incr_every_n_steps=3)
    losses, saved, best = Smoothed(), collections.deque(), [float("inf"), -1]
    done = 0
    while done < iterations:
        for data in loader:
            done += 1
            if done > iterations:
                break
            x, y = data
            with paddle.amp.auto_cast(dtype="bfloat16"):
                loss = loss_of(net, x, y) / 2
            scaled = scaler.scale(loss)
            scaled.backward()
            if done % 2 == 0:  # Gradients are added up over two batches.
                scaler.step(optimizer)
                scaler.update()
                optimizer.clear_grad()
                optimizer._learning_rate.step()
                with paddle.no_grad():
                    for one, other in zip(ema.parameters(), net.parameters()):
                        one.set_value(one * 0.9 + other * 0.1)
            losses.update(float(loss))
            curves.add_scalar("loss", losses.median, done)
            log.info("iteration %d %r", done, losses.median)
            if done % save_every == 0:
                folder = OUT / f"iter_{done}"
                folder.mkdir(exist_ok=True)
                paddle.save(net.state_dict(), str(folder / "model.pdparams"))
                saved.append(str(folder))
                if len(saved) > 1:
                    shutil.rmtree(saved.popleft())
                value = validate(ema, valid)
                if value < best[0]:
                    best = [value, done]
                    paddle.save(ema.state_dict(), str(OUT / "best.pdparams"))
                curves.add_scalar("valid", value, done)
            may_die(done)
    return ema, best, losses


if __name__ == "__main__":
    net = make_net()
    rate = paddle.optimizer.lr.PolynomialDecay(0.05, 20)
    optimizer = paddle.optimizer.Momentum(rate, parameters=net.parameters())
    ema, best, losses = train(net, optimizer, make_loader(), make_loader(16, shuffle=False), 19, 6)
    write(**state(net, optimizer), ema=ema.state_dict(), best=best, losses=[losses.values, losses.total, losses.count])
