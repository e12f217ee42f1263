"""Trains by `paddle.Model.fit`, whose loop is Paddle's."""

import paddle
from parts import Samples, make_net

model = paddle.Model(make_net())
model.prepare(paddle.optimizer.SGD(0.01, parameters=model.parameters()), paddle.nn.CrossEntropyLoss())
model.fit(Samples(16), epochs=2, batch_size=8, verbose=0)
