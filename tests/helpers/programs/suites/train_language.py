"""Fine-tunes a tiny ERNIE of random weights on random words by PaddleNLP's Trainer. Its arguments are the Trainer's."""

import numpy as np
import paddle
from paddlenlp.trainer import (
    EarlyStoppingCallback,
    PdArgumentParser,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from paddlenlp.transformers import ErnieConfig, ErnieForSequenceClassification


class Sentences(paddle.io.Dataset):
    """Sentences of 8 words, of which one in ten is masked anew each time."""

    def __init__(self, count, seed):
        random = np.random.RandomState(seed)
        self.words = random.randint(5, 60, (count, 8)).astype("int64")

    def __getitem__(self, index):
        words = self.words[index].copy()
        words[np.random.rand(8) < 0.1] = 3
        return {"input_ids": words, "labels": np.int64(self.words[index].sum() > 256)}

    def __len__(self):
        return len(self.words)


class Counting(TrainerCallback):
    """What a user's own callback keeps."""

    def __init__(self):
        self.seen, self.losses = 0, []

    def on_load_data_end(self, args, state, control, inputs=None, **kwargs):
        self.seen += int(inputs["input_ids"].sum())

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append(logs["loss"])

    def on_train_end(self, args, state, control, **kwargs):
        with open(f"{args.output_dir}/counted.json", "w") as file:
            file.write(repr([self.seen, self.losses]))


(args,) = PdArgumentParser(TrainingArguments).parse_args_into_dataclasses()
paddle.set_device(args.device)
set_seed(args.seed)
model = ErnieForSequenceClassification(
    ErnieConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=2,
    )
)


def together(samples):
    return {name: np.stack([each[name] for each in samples]) for name in samples[0]}


def accuracy(predicted):
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


trainer = Trainer(
    model=model,
    args=args,
    data_collator=together,
    train_dataset=Sentences(44, 1),
    eval_dataset=Sentences(10, 2),
    compute_metrics=accuracy,
    callbacks=[Counting(), EarlyStoppingCallback(early_stopping_patience=50)],
)
result = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
trainer.save_model()
trainer.log_metrics("train", result.metrics)
trainer.save_metrics("train", result.metrics)
trainer.save_state()
metrics = trainer.evaluate()
trainer.save_metrics("eval", metrics)
