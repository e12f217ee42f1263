"""The templates for clusters: the scripts are run with a real training, the unit and the manifest are checked."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from supervising import ROOT, wait_until

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.config import load_config

CLUSTERS = ROOT / "examples" / "clusters"
# Fifty steps an epoch, so that a signal after the first checkpoint comes long before the end.
OPTIONS = ["-o", "trainer.epochs=8", "-o", "data.global_batch_size=1", "-o", "optimizer.lr=0.01"]
# What Slurm does with these two: srun runs the command that follows its options, and passes signals on to it.
SRUN = '#!/usr/bin/env bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n'
SCONTROL = '#!/usr/bin/env bash\necho "$@" >> "$SCONTROL_CALLS"\n'


@pytest.fixture
def environment(tmp_path: Path, tiny_mnist: Path) -> dict[str, str]:
    """This Python as `python` on the PATH, the two commands of Slurm, and the variables that the templates read."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "PADDLE_RESUME_DATA": str(tiny_mnist.parent),
        "SLURM_JOB_ID": "4711",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SCONTROL_CALLS": str(tmp_path / "scontrol"),
    }


def _command(script: str, data: Path) -> list[str]:
    return ["bash", str(CLUSTERS / script), *OPTIONS, "-o", f"data.root={data}"]


def _interrupt(command: list[str], folder: Path, environment: dict[str, str], signum: int) -> tuple[int, str]:
    """Start the script, signal it after the first checkpoint; its exit code and what it said."""
    environment = {**environment, "RUN_DIR": str(folder)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: (folder / "checkpoint" / "mnist_epoch0.pdstates").exists(), 60)
    process.send_signal(signum)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def _finish(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    environment = {**environment, "RUN_DIR": str(folder)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("script", ["train.sh", "slurm.sbatch"])
def test_the_scripts_are_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(CLUSTERS / script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(CLUSTERS / script)], check=True)


def test_the_shell_script_can_be_run() -> None:
    assert (CLUSTERS / "train.sh").stat().st_mode & stat.S_IXUSR


@pytest.mark.full
def test_before_its_time_is_up_the_slurm_job_saves_and_asks_to_be_queued_again(
    tmp_path: Path, environment: dict[str, str], tiny_mnist: Path
) -> None:
    calls, slurm, shell = tmp_path / "scontrol", tmp_path / "slurm", tmp_path / "shell"
    command = _command("slurm.sbatch", tiny_mnist)
    code, said = _interrupt(command, slurm, environment, signal.SIGUSR1)
    assert code == 143, said
    stopped = re.search(r"Stopped after step (\d+)\. Run the same command again to continue", said)
    assert stopped, said
    newest = find_all(slurm / "checkpoint")[0].record
    assert newest is not None
    assert newest.step == int(stopped[1])
    assert not (slurm / "model.pdparams").exists()
    assert calls.read_text() == "requeue 4711\n"

    # Slurm starts the same job again: it continues, is complete, and asks for nothing more.
    assert f"step {newest.step}, next: " in _finish(command, slurm, environment)
    assert calls.read_text() == "requeue 4711\n"

    # The shell script, interrupted elsewhere, ends with the same bits.
    command = _command("train.sh", tiny_mnist)
    code, said = _interrupt(command, shell, environment, signal.SIGTERM)
    assert code == 143, said
    _finish(command, shell, environment)
    assert (slurm / "model.pdparams").read_bytes() == (shell / "model.pdparams").read_bytes()


@pytest.mark.full
def test_a_slurm_job_that_meets_a_users_mistake_is_not_queued_again(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = ["bash", str(CLUSTERS / "slurm.sbatch"), "-o", "trainer.epoch=8"]
    result = subprocess.run(command, env={**environment, "RUN_DIR": str(tmp_path / "run")}, capture_output=True)
    assert result.returncode == 2
    assert b"trainer.epoch" in result.stderr
    assert not (tmp_path / "scontrol").exists()


def test_the_slurm_job_is_signaled_long_enough_before_its_end() -> None:
    text = (CLUSTERS / "slurm.sbatch").read_text()
    assert re.search(r"^#SBATCH --requeue$", text, re.MULTILINE)
    ahead = re.search(r"^#SBATCH --signal=B:USR1@(\d+)$", text, re.MULTILINE)
    assert ahead
    assert int(ahead[1]) >= 120


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = (CLUSTERS / "paddle-resume.service").read_text()
    # The paths are the reader's to choose; here the program that it starts has to exist.
    unit = tmp_path / "mnist.service"
    unit.write_text(text.replace("/opt/paddle_resume/.venv/bin/python", sys.executable))
    result = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_unit_leaves_time_for_the_save_and_restarts_no_users_mistake() -> None:
    text = (CLUSTERS / "paddle-resume.service").read_text()
    grace, stop = re.search(r"--grace (\d+)", text), re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert grace
    assert stop
    assert int(stop[1]) > int(grace[1])
    for line in ("KillMode=mixed", "Restart=on-failure", "RestartPreventExitStatus=2", "SuccessExitStatus=143"):
        assert f"\n{line}\n" in text


def _job() -> dict[str, Any]:
    volume, job = yaml.safe_load_all((CLUSTERS / "kubernetes.yaml").read_text())
    assert volume["kind"] == "PersistentVolumeClaim"
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    claims = [v["persistentVolumeClaim"]["claimName"] for v in _pod(job)["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [volume["metadata"]["name"]]
    return job


def _pod(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]["spec"]


def test_the_pod_has_longer_to_end_than_the_supervisor_gives_the_training() -> None:
    pod = _pod(_job())
    command = pod["containers"][0]["command"]
    grace = float(command[command.index("--grace") + 1])
    # Twice: the training's time to save, and the supervisor's to end what did not.
    assert pod["terminationGracePeriodSeconds"] >= 2 * grace
    assert pod["restartPolicy"] == "Never"
    hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    subprocess.run([hook[0], "-n", hook[1], hook[2]], check=True)


def test_the_job_has_one_writer_and_repeats_no_users_mistake() -> None:
    job = _job()
    assert job["spec"]["parallelism"] == job["spec"]["completions"] == 1
    rule = job["spec"]["podFailurePolicy"]["rules"][0]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])
    assert rule["onExitCodes"]["containerName"] == _pod(job)["containers"][0]["name"]


def test_the_job_runs_a_command_of_this_checkout_and_keeps_all_it_writes_on_its_volume() -> None:
    container = _pod(_job())["containers"][0]
    args = container["args"]
    assert (ROOT / container["command"][1]).is_file()
    assert (ROOT / args[1]).is_file()
    overrides = [args[i + 1] for i, word in enumerate(args) if word == "-o"]
    run = load_config(str(ROOT / args[args.index("-c") + 1]), overrides).run
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in (run.save_dir, run.log_dir, run.model_path):
        assert str(path).startswith(f"{mounts[0]}/")
