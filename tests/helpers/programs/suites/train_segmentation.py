"""Trains with PaddleSeg as its own tools/train.py does, which its wheel does not carry: CONFIG OUT.

Without evaluation and log lines: those of 2.8.0 take the only element of arrays that have no axis with Paddle 3.
"""

import sys

from paddleseg.core import train
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.utils import utils


def main(config, out):
    cfg = Config(config)
    builder = SegBuilder(cfg)
    utils.show_env_info()
    utils.show_cfg_info(cfg)
    utils.set_seed(3)
    utils.set_device("cpu")
    utils.set_cv2_num_threads(0)
    model = utils.convert_sync_batchnorm(builder.model, "cpu")
    train(
        model,
        builder.train_dataset,
        optimizer=builder.optimizer,
        save_dir=out,
        iters=cfg.iters,
        batch_size=cfg.batch_size,
        save_interval=6,
        log_iters=cfg.iters + 1,
        use_ema=True,
        losses=builder.loss,
        test_config=cfg.test_config,
        to_static_training=cfg.to_static_training,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
