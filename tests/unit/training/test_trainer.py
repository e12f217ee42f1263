"""The trainer at the edges of epochs, of step limits and of what users bring along."""

import numpy as np
import pytest

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Callback, Monitoring, RandomStreams, Trainer
from paddle_resume.data.feed import Feed
from paddle_resume.errors import InexactResumeError, StateError
from paddle_resume.metrics import RunningMetrics
from paddle_resume.training.interrupt import Interruption
from paddle_resume.training.save_schedule import SaveSchedule


class Points(paddle.io.Dataset):
    """Twelve points of a line."""

    def __init__(self, slope=1.0):
        self.slope = slope

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return np.array([index], np.float32), np.array([self.slope * index], np.float32)


class PointStream(paddle.io.IterableDataset):
    """The same as a stream that knows its position, and goes on where it stands once it was put there."""

    position = 0
    resumed = False

    def __iter__(self):
        if not self.resumed:
            self.position = 0
        self.resumed = False
        while self.position < 12:
            self.position += 1
            yield np.array([self.position], np.float32), np.array([self.position], np.float32)

    def state_dict(self):
        return {"position": self.position}

    def set_state_dict(self, state):
        self.position, self.resumed = state["position"], True


class Stop(Exception):
    pass


class StopAt(Callback):
    """Ends the run at a hook, as a kill would."""

    def __init__(self, step, hook="on_step_begin"):
        self.step = step
        setattr(self, hook, self._maybe)
        self.hook = hook

    def on_step_begin(self, trainer):
        pass

    def on_evaluate_step(self, trainer):
        if self.hook == "on_evaluate_step":
            self._maybe(trainer)

    def _maybe(self, trainer, *_):
        if trainer.step == self.step:
            raise Stop


def make(tmp_path, learning_rate=0.01, every_steps=1, optimizer=paddle.optimizer.Adam, **options):
    paddle_resume.seed_everything(3)
    model = options.pop("model", lambda: paddle.nn.Linear(1, 1))()
    arguments = {"loss": paddle.nn.MSELoss(), "schedule": SaveSchedule(every_steps=every_steps, background=False)}
    arguments["monitoring"] = Monitoring(log_every=5)
    return Trainer(
        model,
        optimizer(learning_rate, parameters=model.parameters()),
        save_dir=tmp_path,
        name="line",
        **{**arguments, **options},
    )


def weights(trainer):
    return [parameter.numpy().tobytes() for parameter in trainer.model.parameters()]


def run(trainer, data=None, **options):
    trainer.train(Points() if data is None else data, **{"epochs": 3, "global_batch_size": 4, **options})
    return weights(trainer)


def stopped(trainer, data=None, **options):
    with pytest.raises(Stop):
        run(trainer, data, **options)


@pytest.mark.parametrize("step", range(10))
def test_a_stream_with_a_position_is_exact_from_every_step_also_at_the_ends_of_epochs(step, tmp_path):
    straight = run(make(tmp_path / "straight"), PointStream())
    if step < 9:
        stopped(make(tmp_path / "killed", callbacks=[StopAt(step)]), PointStream())
    again = make(tmp_path / "killed")
    assert run(again, PointStream()) == straight
    assert again.step == 9


def test_a_save_on_the_last_step_of_an_epoch_is_continued_with_the_learning_rate_of_that_step(tmp_path):
    class StopAtEpochEnd(Callback):
        def on_save(self, trainer, prefix):
            if prefix.name == "line_step3":
                raise Stop

    straight = run(make(tmp_path / "straight"))
    stopped(make(tmp_path / "killed", callbacks=[StopAtEpochEnd()]))
    again = make(tmp_path / "killed")
    assert run(again) == straight
    assert again.results["train/lr"] == 0.01


def test_a_run_saved_at_its_last_step_makes_no_further_step(tmp_path):
    class StopAtSave(Callback):
        def on_save(self, trainer, prefix):
            if prefix.name == "line_step2":
                raise Stop

    stopped(make(tmp_path, callbacks=[StopAtSave()]), max_steps=2)
    again = make(tmp_path)
    run(again, max_steps=2)
    assert again.step == 2


def test_a_finished_run_can_be_made_longer_and_equals_one_that_was_long_from_the_start(tmp_path):
    long = run(make(tmp_path / "long"), epochs=3)
    run(make(tmp_path / "short"), epochs=2)
    assert run(make(tmp_path / "short"), epochs=3) == long


def test_state_that_a_callback_changes_before_an_evaluation_is_not_doubled_by_an_interruption(tmp_path):
    class Counter(Callback):
        count = 0

        def on_evaluate_begin(self, trainer, split):
            self.count += 1

        def on_evaluate_step(self, trainer):
            if self.interrupt:
                raise Interruption

        def state_dict(self):
            return {"count": self.count}

        def set_state_dict(self, state):
            self.count = state["count"]

    first, second = Counter(), Counter()
    first.interrupt, second.interrupt = True, False
    with pytest.raises(SystemExit):
        run(make(tmp_path, callbacks=[first]), valid_data=Points(), epochs=1)
    run(make(tmp_path, callbacks=[second]), valid_data=Points(), epochs=1)
    assert second.count == 1


def test_what_a_callback_draws_at_the_start_of_each_process_does_not_count(tmp_path):
    class Draw(Callback):
        def on_train_begin(self, trainer):
            np.random.rand(3)
            paddle.rand([2])

    class Noisy(Trainer):
        def train_step(self, batch):
            loss = self.loss(self.model(batch[0]) + np.random.rand(), batch[1])
            loss.backward()
            self.optimizer.step()
            self.optimizer.clear_grad()
            return loss

    def noisy(folder, *callbacks):
        trainer = make(tmp_path / folder, callbacks=callbacks)
        trainer.__class__ = Noisy
        return trainer

    straight = run(noisy("straight", Draw()))
    stopped(noisy("killed", Draw(), StopAt(4)))
    assert run(noisy("killed", Draw())) == straight


def test_a_metric_with_state_methods_of_its_own_gets_its_state_back():
    class Sum(paddle.metric.Metric):
        def __init__(self):
            super().__init__()
            self.total = paddle.zeros([1])

        def compute(self, output, label):
            return output

        def update(self, output):
            self.total += paddle.to_tensor(output).sum()

        def accumulate(self):
            return self.total.item()

        def reset(self):
            self.total = paddle.zeros([1])

        def name(self):
            return "sum"

        def state_dict(self):
            return {"total": self.total.item()}

        def set_state_dict(self, state):
            self.total = paddle.to_tensor([state["total"]])

    before, after = RunningMetrics([Sum()]), RunningMetrics([Sum()])
    before.update(0, paddle.to_tensor(1.0), paddle.ones([3, 1]), paddle.ones([3, 1]), 3)
    after.set_state_dict(before.state_dict())
    assert after.results() == {"loss": 1.0, "sum": 3.0}


def test_a_metric_with_other_arguments_is_a_difference():
    one, other = (RunningMetrics([paddle.metric.Accuracy(topk=k)]) for k in ((1,), (1, 2)))
    assert str(other.differences(one.state_dict())[0]).startswith("metrics: Accuracy ")
    assert one.differences(one.state_dict()) == []


@pytest.mark.parametrize(
    ("change", "data", "told"),
    [
        ({"optimizer": lambda r, parameters: paddle.optimizer.Adam(r, beta1=0.5, parameters=parameters)}, None,
         "optimizer beta1: 0.9 -> 0.5"),
        ({"learning_rate": 0.02}, None, "0.01 -> 0.02"),
        ({}, Points(slope=2.0), "data digest: "),
    ],
)  # fmt: skip
def test_a_change_that_would_go_unseen_in_the_files_stops_the_resume(change, data, told, tmp_path):
    stopped(make(tmp_path, callbacks=[StopAt(2)]))
    with pytest.raises(InexactResumeError) as caught:
        run(make(tmp_path, **change), data)
    assert told in str(caught.value)


def test_another_validation_set_stops_the_resume(tmp_path):
    stopped(make(tmp_path, callbacks=[StopAt(2)]), valid_data=Points())
    with pytest.raises(InexactResumeError, match="valid data digest: "):
        run(make(tmp_path), valid_data=Points(slope=3.0))


def test_buffers_outside_the_state_dict_are_part_of_the_run(tmp_path):
    class Counting(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.fc = paddle.nn.Linear(1, 1)
            self.register_buffer("calls", paddle.zeros([1]), persistable=False)

        def forward(self, x):
            self.calls.add_(paddle.ones([1]))
            return self.fc(x) + 0.01 * self.calls.detach()

    straight = run(make(tmp_path / "straight", model=Counting))
    stopped(make(tmp_path / "killed", model=Counting, callbacks=[StopAt(4)]))
    assert run(make(tmp_path / "killed", model=Counting)) == straight
    assert (tmp_path / "killed" / "line_step8.pdbuffers").exists()


def test_two_callbacks_of_one_class_with_state_are_refused(tmp_path):
    class Memory(Callback):
        def state_dict(self):
            return {}

        def set_state_dict(self, state):
            pass

    with pytest.raises(StateError, match=r"Two owners of state are called 'callback\.Memory'"):
        make(tmp_path, callbacks=[Memory(), Memory()])


def test_an_owner_named_like_one_of_the_trainers_is_refused(tmp_path):
    with pytest.raises(StateError, match="Two owners of state are called 'progress'"):
        make(tmp_path, owners={"progress": StopAndState()})


class StopAndState:
    def state_dict(self):
        return {}

    def set_state_dict(self, state):
        pass


def test_several_optimizers_without_a_step_of_ones_own_are_refused_in_plain_words(tmp_path):
    model = paddle.nn.Linear(1, 1)
    optimizers = {"a": paddle.optimizer.SGD(0.1, parameters=model.parameters())}
    trainer = Trainer(model, optimizers, loss=paddle.nn.MSELoss(), save_dir=tmp_path, name="line")
    with pytest.raises(StateError, match=r"Trainer\.train_step has to be overridden"):
        run(trainer)


def test_evaluating_and_predicting_leave_generators_and_mode_alone(tmp_path):
    trainer = make(tmp_path)
    trainer.model.train()
    before = str(RandomStreams().state_dict())
    trainer.evaluate(Points(), batch_size=5)
    outputs = trainer.predict(Points(), batch_size=5)
    assert str(RandomStreams().state_dict()) == before
    assert trainer.model.training
    assert outputs.shape == (12, 1)


def test_a_dataloader_is_fed_in_a_resumable_order_with_its_own_options():
    loader = paddle.io.DataLoader(Points(), batch_size=5, shuffle=True, drop_last=True)
    feed = Feed.of(loader, seed=1)
    seen = [batch[0].numpy().ravel().tolist() for batch in feed.remaining()]
    assert [len(batch) for batch in seen] == [5, 5]
    again = Feed.of(loader, seed=1)
    again.samples = 5
    assert [batch[0].numpy().ravel().tolist() for batch in again.remaining()] == seen[1:]


def test_a_stream_without_a_position_is_told_to_be_replayed(tmp_path, capsys):
    class Endless(paddle.io.IterableDataset):
        def __iter__(self):
            return iter([(np.ones([1], np.float32), np.ones([1], np.float32))] * 8)

    run(make(tmp_path, console=False), Endless(), epochs=1)
    assert "Endless has no state_dict(): resuming within an epoch draws the samples" in capsys.readouterr().err
