"""Trains with PaddleScience as its examples do: two constraints, a validator, EMA, VisualDL. Its argument is OUT."""

import sys

import numpy as np
import ppsci
from omegaconf import OmegaConf
from ppsci.utils import logger

CONFIG = {
    "mode": "train",
    "seed": 11,
    "log_freq": 2,
    "use_tbd": False,
    "use_vdl": True,
    "use_wandb": False,
    "wandb_config": {},
    "device": "cpu",
    "to_static": False,
    "use_amp": False,
    "amp_level": "O1",
    "TRAIN": {
        "epochs": 3,
        "iters_per_epoch": 30,
        "update_freq": 1,
        "save_freq": 1,
        "eval_during_train": True,
        "start_eval_epoch": 1,
        "eval_freq": 1,
        "checkpoint_path": None,
        "pretrained_model_path": None,
        "ema": {"use_ema": True, "decay": 0.9, "avg_freq": 1},
    },
    "EVAL": {"compute_metric_by_batch": False, "eval_with_no_grad": False, "pretrained_model_path": None},
}


def solution(points):
    return np.cos(points["x"]) * np.cosh(points["y"])


def loader(batch_size, batches, shuffle):
    sampler = {"name": "BatchSampler", "drop_last": True, "shuffle": shuffle}
    return {
        "dataset": "NamedArrayDataset",
        "batch_size": batch_size,
        "sampler": sampler,
        "iters_per_epoch": batches,
    }


def main(out):
    cfg = OmegaConf.create({**CONFIG, "output_dir": out})
    ppsci.utils.misc.set_random_seed(cfg.seed)
    logger.init_logger("ppsci", f"{cfg.output_dir}/{cfg.mode}.log", "info")
    model = ppsci.arch.MLP(("x", "y"), ("u",), 3, 20, "tanh")
    equation = {"laplace": ppsci.equation.Laplace(dim=2)}
    square = ppsci.geometry.Rectangle((0.0, 0.0), (1.0, 1.0))
    value = {"u": lambda out: out["u"]}
    # Its batches end within an epoch.
    border = ppsci.constraint.BoundaryConstraint(
        value, {"u": solution}, square, loader(8, 25, shuffle=False), ppsci.loss.MSELoss("mean"), name="border"
    )
    validator = ppsci.validate.GeometryValidator(
        value,
        {"u": solution},
        square,
        {"dataset": "NamedArrayDataset", "total_size": 64, "batch_size": 32},
        ppsci.loss.MSELoss("mean"),
        evenly=True,
        metric={"MSE": ppsci.metric.MSE()},
        name="mse",
    )
    # Its batches are put in order by a thread, as soon as it is made: whatever else draws comes before.
    inside = ppsci.constraint.InteriorConstraint(
        equation["laplace"].equations,
        {"laplace": 0},
        square,
        loader(16, cfg.TRAIN.iters_per_epoch, shuffle=True),
        ppsci.loss.MSELoss("mean"),
        name="inside",
    )
    rate = ppsci.optimizer.lr_scheduler.ExponentialDecay(
        cfg.TRAIN.epochs, cfg.TRAIN.iters_per_epoch, 0.01, 0.9, 10, warmup_epoch=1
    )()
    solver = ppsci.solver.Solver(
        model,
        {"inside": inside, "border": border},
        cfg.output_dir,
        ppsci.optimizer.Adam(rate)(model),
        equation=equation,
        geom={"square": square},
        validator={"mse": validator},
        cfg=cfg,
    )
    solver.train()


if __name__ == "__main__":
    main(sys.argv[1])
