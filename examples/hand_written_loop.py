"""A training loop written by hand, LeNet on MNIST, that continues after any interruption when it is run again."""

from paddle_resume import Checkpointer, RandomStreams, ResumableBatchSampler, seed_everything  # before paddle

import paddle
from paddle.vision.datasets import MNIST
from paddle.vision.transforms import ToTensor

seed_everything(1)
train = MNIST(mode="train", transform=ToTensor())
model = paddle.vision.models.LeNet()
optimizer = paddle.optimizer.Adam(parameters=model.parameters())

sampler, rng = ResumableBatchSampler(train, batch_size=64, seed=1), RandomStreams(1)
loader = paddle.io.DataLoader(train, batch_sampler=sampler)
state = {"model": model, "optimizer": optimizer, "sampler": sampler, "rng": rng}
checkpointer = Checkpointer("checkpoint", "lenet")
restored = checkpointer.restore(state)
step = restored.step if restored else 0

for epoch in sampler.epochs(3):
    for images, labels in loader:
        rng.begin_step(step)
        loss = paddle.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        sampler.advance()
        step += 1
        if step % 100 == 0:
            print(f"epoch {epoch}, step {step}, loss {loss.item():.4f}")
            checkpointer.save(step, state)

checkpointer.save(step, state)
checkpointer.close()
paddle.save(model.state_dict(), "lenet.pdparams")
