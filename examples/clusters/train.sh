#!/usr/bin/env bash
# One machine: keep a training running. Ctrl-C or SIGTERM saves and leaves; the same command continues.
#
#   CONFIG=configs/mnist.yaml RUN_DIR=/scratch/mnist examples/clusters/train.sh -o trainer.epochs=5
#
# Arguments go to tools/train.py. PROCESSES=2 trains in two processes, through Paddle's launcher.
set -euo pipefail

PROJECT=${PROJECT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
CONFIG=${CONFIG:-$PROJECT/configs/mnist.yaml}
RUN_DIR=${RUN_DIR:-$PWD}
PROCESSES=${PROCESSES:-1}

python=(python)
if [ "$PROCESSES" -gt 1 ]; then
    python=(python -m paddle.distributed.launch --nproc_per_node "$PROCESSES" --log_dir "$RUN_DIR/ranks")
fi

mkdir -p "$RUN_DIR"
# exec: signals for this script then reach the supervisor itself.
exec python "$PROJECT/tools/run.py" --max-restarts 20 --hang-timeout "${HANG_TIMEOUT:-600}" -- \
    "${python[@]}" "$PROJECT/tools/train.py" -c "$CONFIG" \
    -o "run.save_dir=$RUN_DIR/checkpoint" -o "run.log_dir=$RUN_DIR/log" -o "run.model_path=$RUN_DIR/model.pdparams" "$@"
