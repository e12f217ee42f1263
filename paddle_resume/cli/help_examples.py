"""The examples at the end of each command's `--help`."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "train": (
        "paddle-resume train -c configs/mnist.yaml",
        "paddle-resume train -c configs/mnist.yaml -o trainer.epochs=5 --lr-change hold",
        "paddle-resume train -c configs/mnist.yaml -o trainer.epochs=5 --resume checkpoint/mnist_epoch0",
        "paddle-resume train -c configs/mnist.yaml --trial",
    ),
    "eval": ("paddle-resume eval -c configs/mnist.yaml --weights checkpoint/mnist_epoch2 --split valid",),
    "export": ("paddle-resume export -c configs/mnist.yaml --weights checkpoint/mnist_epoch2 --output export/mnist",),
    "predict": (
        "paddle-resume predict export/mnist digit.png",
        "paddle-resume predict -c configs/mnist.yaml --weights checkpoint/mnist_epoch2 images --json",
    ),
    "generate": ("paddle-resume generate -c configs/text.yaml --weights checkpoint/text_epoch0 --prompt 'The '",),
    "wrap": (
        "paddle-resume wrap -- python tools/train.py -c ppyoloe.yml --eval",
        "paddle-resume wrap --auto --save-dir checkpoint --every-steps 500 -- python my_training.py",
    ),
    "run": (
        "paddle-resume run -- paddle-resume train -c configs/mnist.yaml",
        "paddle-resume run --max-restarts 5 --hang-timeout 600 -- python tools/train.py -c configs/mnist.yaml",
        "paddle-resume run --max-processes 4 -- python -m paddle.distributed.launch --nproc_per_node {processes} "
        "tools/train.py -c configs/mnist.yaml -o parallel.elastic=4",
    ),
    "convert": (
        "paddle-resume convert net.pth -c configs/mnist.yaml --output net.pdparams",
        "paddle-resume convert checkpoint/mnist_epoch2 --output mnist.safetensors",
    ),
    "interval": (
        "paddle-resume interval --save-stall 250ms --mtbf 60d --step-time 400ms",
        "paddle-resume interval --save-stall 250ms --mtbf 60d --step-time 400ms --output overhead.png",
    ),
    "prove": (
        "paddle-resume prove -c configs/mnist.yaml --kills 5 --steps 60",
        "paddle-resume prove -c configs/mnist.yaml --stops --processes 2 --steps 60",
        "paddle-resume prove -c configs/mnist.yaml --repeat --steps 60",
    ),
    "plot-lr": ("paddle-resume plot-lr -c configs/mnist.yaml -o optimizer.lr=0.01 --output lr.png",),
    "inspect": ("paddle-resume inspect -c configs/mnist.yaml --values --weights checkpoint/mnist_epoch2",),
    "plot": ("paddle-resume plot log/mnist log/mnist_lr3 --output curves.png",),
    "wrong": ("paddle-resume wrong -c configs/mnist.yaml --weights checkpoint/mnist_epoch2 --output wrong.png",),
    "list": ("paddle-resume list checkpoint", "paddle-resume list checkpoint --verify --json"),
    "show": ("paddle-resume show checkpoint/mnist_epoch2", "paddle-resume show mnist.pdparams --no-values"),
    "verify": ("paddle-resume verify checkpoint", "paddle-resume verify checkpoint/mnist_epoch2 && echo good"),
    "diff": ("paddle-resume diff checkpoint/mnist_epoch1 checkpoint/mnist_epoch2 --all",),
    "average": (
        "paddle-resume average checkpoint/mnist_epoch0 checkpoint/mnist_epoch1 checkpoint/mnist_epoch2 "
        "--output average.pdparams",
    ),
    "strip": (
        "paddle-resume strip checkpoint/mnist_epoch2 --output weights.pdparams",
        "paddle-resume strip checkpoint/mnist_epoch2 --ema --output average.pdparams",
    ),
    "prune": (
        "paddle-resume prune checkpoint --keep 2",
        "paddle-resume prune checkpoint --keep 2 --keep-epochs 3 --yes",
    ),
    "recover": (
        "paddle-resume recover checkpoint",
        "paddle-resume recover checkpoint --yes",
        "paddle-resume recover checkpoint/mnist_epoch2 --output saved.pdparams",
    ),
    "merge": (
        "paddle-resume merge checkpoint/mnist_epoch2",
        "paddle-resume merge checkpoint/mnist_epoch2 --output plain",
    ),
    "doctor": ("paddle-resume doctor", "paddle-resume doctor /data/checkpoint --json"),
    "configs": ("paddle-resume configs", "paddle-resume configs mnist > mine.yaml"),
    "schema": ("paddle-resume schema > config.schema.json", "paddle-resume schema --reference > reference.yaml"),
}


def examples_of(command: str) -> str:
    """What stands at the end of the help of `command`."""
    return "\n\n".join(("Examples:", *EXAMPLES[command]))  # Typer joins lines that no empty line parts.
