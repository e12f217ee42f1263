"""Trains with PaddleDetection as its own tools/train.py does, which its wheel does not carry: CONFIG OUT."""

import sys

import paddle
import ppdet.utils.check as check
from ppdet.core.workspace import load_config, merge_config
from ppdet.engine import Trainer, init_parallel_env, set_random_seed


def main(config, out):
    cfg = load_config(config)
    paddle.set_device("cpu")
    # What --use_vdl and --vdl_log_dir set, and `-o`.
    merge_config({"save_dir": out, "output_eval": out, "use_vdl": True, "vdl_log_dir": out})
    check.check_config(cfg)
    check.check_version()
    init_parallel_env()
    set_random_seed(0)
    trainer = Trainer(cfg, mode="train")
    trainer.train(True)


if __name__ == "__main__":
    main(*sys.argv[1:])
