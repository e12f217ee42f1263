"""What the arguments of a Trainer have to be besides their types, and what they are called elsewhere."""

from __future__ import annotations

from paddle_resume.checked_arguments import AT_LEAST_ONE, AT_LEAST_ZERO, Rule
from paddle_resume.training.default_logs import AUTO
from paddle_resume.training.run_data import DATA, TRAIN_DATA

LOGS = Rule('a Logger, a list of them, "auto" or None', lambda value: not isinstance(value, str) or value == AUTO)
RENAMED = {
    "batch_size": "it is called global_batch_size=, since all processes together take so many samples",
    "lr": "the learning rate belongs to the optimizer, such as paddle.optimizer.Adam(0.001, parameters=...)",
    "learning_rate": "the learning rate belongs to the optimizer, such as paddle.optimizer.Adam(0.001, parameters=...)",
    "eval_data": "it is called valid_data=",
    "eval_dataset": "it is called valid_data=",
    "train_dataset": "it is called train_data=",
    "batches": "it is called limit_batches=",
    "callbacks": "it belongs to Trainer(callbacks=[...])",
    "verbose": "what is printed belongs to Trainer(console=True) or False",
    "save_dir": "it belongs to Trainer(save_dir=...)",
}
DATA_RULES = {
    "train_data": TRAIN_DATA,
    "valid_data": DATA,
    "test_data": DATA,
    "epochs": AT_LEAST_ONE,
    "max_steps": AT_LEAST_ZERO,
    "limit_batches": AT_LEAST_ONE,
    "global_batch_size": AT_LEAST_ONE,
    "num_workers": AT_LEAST_ZERO,
}
