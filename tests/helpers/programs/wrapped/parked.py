"""Parks its optimizer in a foreign object, to which the walk does not go: it could not be saved."""

import logging

import paddle
from parts import loss_of, make_loader, make_net

net = make_net()
logging.getLogger("parked").update = paddle.optimizer.Adam(0.01, parameters=net.parameters())
for x, y in make_loader():
    loss_of(net, x, y).backward()
    logging.getLogger("parked").update.step()
    logging.getLogger("parked").update.clear_grad()
