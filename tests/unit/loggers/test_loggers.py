"""The logs: a kill, a cut-back and a continuation leave the curves of a log that nothing interrupted."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from paddle_resume.errors import CheckpointError, ConfigError, SaveError
from paddle_resume.loggers import JsonlLogger, VisualDLLogger, read_records, read_scalars, read_values
from paddle_resume.loggers.visualdl import _payloads

KINDS = {"visualdl": (VisualDLLogger, read_scalars), "jsonl": (JsonlLogger, read_records)}
WAIT = 20

# Logs the steps from first to last and prints the cursor before step `cursor_at`; `state` is where to go on.
CHILD = """
import json, sys, time
from paddle_resume.loggers import JsonlLogger, VisualDLLogger

kind, folder, first, last, cursor_at, state, pause = json.loads(sys.argv[1])
logger = {"visualdl": VisualDLLogger, "jsonl": JsonlLogger}[kind](folder, "run")
if state:
    assert logger.lacks(state) == [], logger.lacks(state)
    logger.set_state_dict(state)
for step in range(first, last):
    if step == cursor_at:
        logger.prepare_save()
        print(json.dumps(logger.state_dict()), flush=True)
    logger.log_scalars({"train/loss": 1 / (step + 3), "train/lr": 0.1 * 0.99**step}, step)
    if step % 5 == 4:
        logger.log_scalars({"valid/acc": step / 7}, step)
    logger.flush()
    time.sleep(pause)
logger.close()
"""


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return request.param


@pytest.fixture
def logger(kind, tmp_path):
    logger = make(kind, tmp_path)
    yield logger
    logger.close()


def saved(logger):
    """The state that a save would take."""
    logger.prepare_save()
    return logger.state_dict()


def make(kind, folder):
    return KINDS[kind][0](folder, "run")


def path_of(kind, folder):
    return Path(folder) / {"visualdl": "vdlrecords.run.log", "jsonl": "run.jsonl"}[kind]


def size(kind, folder):
    path = path_of(kind, folder)
    return path.stat().st_size if path.exists() else 0


def read(kind, folder):
    return KINDS[kind][1](path_of(kind, folder))


def losses(kind, folder):
    """The (step, value) pairs of train/loss in file order."""
    content = read(kind, folder)
    if kind == "visualdl":
        return [(step, value) for step, value, _ in content.get("train/loss", [])]
    return [(line["step"], line["train/loss"]) for line in content if "train/loss" in line]


def start_child(kind, folder, first, last, cursor_at=None, state=None, pause=0):
    arguments = json.dumps([kind, str(folder), first, last, cursor_at, state, pause])
    command = [sys.executable, "-W", "error", "-c", CHILD, arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def run_child(*arguments, **options):
    with start_child(*arguments, **options) as child:
        assert child.wait(WAIT) == 0


def kill_after_cursor(kind, folder, cursor_at, pause=0):
    """The cursor of a child that is killed while it writes, some records later."""
    with start_child(kind, folder, 0, 10**9, cursor_at, pause=pause) as child:
        try:
            state = json.loads(child.stdout.readline())
            wait_until(lambda: size(kind, folder) > state["offset"] + 1000)
        finally:
            child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    return state


def wait_until(condition):
    deadline = time.monotonic() + WAIT
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def test_a_killed_log_that_continues_from_its_cursor_equals_an_untouched_one(kind, tmp_path):
    run_child(kind, tmp_path / "untouched", 0, 60)
    state = kill_after_cursor(kind, tmp_path / "killed", 20)
    assert len(losses(kind, tmp_path / "killed")) > 21, "the kill must leave a tail to cut"
    run_child(kind, tmp_path / "killed", 20, 60, state=state)

    assert read(kind, tmp_path / "killed") == read(kind, tmp_path / "untouched")
    assert [step for step, _ in losses(kind, tmp_path / "killed")] == list(range(60))
    same_length = size(kind, tmp_path / "killed") == size(kind, tmp_path / "untouched")
    assert same_length, "a server's offset must stay valid"


def test_a_log_that_is_not_cut_back_is_seen_to_differ(kind, tmp_path):
    run_child(kind, tmp_path / "untouched", 0, 30)
    run_child(kind, tmp_path / "doubled", 0, 25)
    run_child(kind, tmp_path / "doubled", 20, 30)
    assert read(kind, tmp_path / "doubled") != read(kind, tmp_path / "untouched")


@pytest.mark.parametrize("torn", [1, 7, 8, 9, 20])
def test_half_a_record_after_the_cursor_is_cut(kind, logger, tmp_path, torn):
    logger.log_scalars({"train/loss": 0.5}, 0)
    state = saved(logger)
    logger.log_scalars({"train/loss": 0.25}, 1)
    logger.close()
    os.truncate(path_of(kind, tmp_path), state["offset"] + torn)
    assert losses(kind, tmp_path) == [(0, 0.5)], "a reader leaves out what is half written"

    resumed = make(kind, tmp_path)
    assert resumed.lacks(state) == []
    resumed.set_state_dict(state)
    resumed.log_scalars({"train/loss": 0.125}, 1)
    resumed.close()
    assert losses(kind, tmp_path) == [(0, 0.5), (1, 0.125)]


def test_one_process_can_go_back_to_a_cursor_and_forget_what_it_has_not_written(kind, logger, tmp_path):
    logger.log_scalars({"train/loss": 0.5}, 0)
    state = json.loads(json.dumps(saved(logger)))
    logger.log_scalars({"train/loss": 9.0}, 1)
    logger.flush()
    logger.log_scalars({"train/loss": 9.0}, 2)
    logger.set_state_dict(state)
    logger.log_scalars({"train/loss": 0.25}, 1)
    logger.flush()
    assert losses(kind, tmp_path) == [(0, 0.5), (1, 0.25)]


def test_the_cursor_of_an_empty_log_is_zero_and_going_back_to_it_gives_a_whole_log(kind, logger, tmp_path):
    state = saved(logger)
    assert state == {"file": path_of(kind, tmp_path).name, "offset": 0}
    assert logger.lacks(state) == []
    logger.log_scalars({"train/loss": 9.0}, 0)
    logger.flush()
    logger.set_state_dict(state)
    logger.log_scalars({"train/loss": 0.5}, 0)
    logger.flush()
    assert losses(kind, tmp_path) == [(0, 0.5)]

    other = make(kind, tmp_path / "other")
    other.log_scalars({"train/loss": 0.5}, 0)
    other.close()
    assert size(kind, tmp_path / "other") == size(kind, tmp_path), "one header, not two"


def test_a_fresh_run_starts_with_an_empty_log_after_one_that_died_before_its_first_checkpoint(kind, tmp_path):
    kill_after_cursor(kind, tmp_path, 0)
    fresh = make(kind, tmp_path)
    fresh.start_over()
    assert size(kind, tmp_path) == 0
    fresh.log_scalars({"train/loss": 0.5}, 0)
    fresh.close()
    assert losses(kind, tmp_path) == [(0, 0.5)]


def test_constructing_a_logger_writes_nothing_and_does_not_import_visualdl(tmp_path):
    code = (
        "import sys; from paddle_resume.loggers import JsonlLogger, VisualDLLogger\n"
        "for logger in (JsonlLogger('run'), VisualDLLogger('run', 'run')):\n"
        "    logger.start_over(); logger.flush(); logger.close()\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'visualdl']\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_logging_moves_no_generator(logger):
    before = np.random.get_state()[1].tobytes()
    logger.log_scalars({"train/loss": 0.5}, 0)
    saved(logger)
    assert np.random.get_state()[1].tobytes() == before


def test_the_cursor_counts_what_waits_in_memory_and_before_a_save_it_is_made_durable(kind, logger, tmp_path):
    for step in range(100):
        logger.log_scalars({"train/loss": float(step)}, step)
    state = logger.state_dict()
    assert size(kind, tmp_path) < state["offset"]
    logger.prepare_save()
    assert logger.state_dict() == state
    assert losses(kind, tmp_path) == [(step, float(step)) for step in range(100)]
    assert state["offset"] == size(kind, tmp_path)


def test_state_dict_costs_the_same_for_a_long_log(logger):
    def cost():
        durations = []
        for _ in range(20):
            logger.log_scalars({"train/loss": 0.5}, 0)
            start = time.perf_counter()
            saved(logger)
            durations.append(time.perf_counter() - start)
        return min(durations)

    short = cost()
    for step in range(100_000):
        logger.log_scalars({"train/loss": 0.5}, step)
    saved(logger)
    assert cost() < 5 * short + 0.001


def test_a_scalar_costs_less_than_fifty_microseconds(logger):
    def cost():
        start = time.perf_counter()
        for step in range(1000):
            logger.log_scalars({"train/loss": 0.5, "train/lr": 0.1}, step)
        return (time.perf_counter() - start) / 2000

    assert min(cost() for _ in range(5)) < 50e-6


def test_jsonl_keeps_every_float64_exactly(tmp_path):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, float("inf"), float("nan")]
    log = JsonlLogger(tmp_path)
    for step, value in enumerate(values):
        log.log_scalars({"x": value, "as float32": np.float32(value) if step < 2 else 0}, step)
    log.close()
    records = read_records(tmp_path / "metrics.jsonl")
    assert [struct.pack(">d", record["x"]) for record in records] == [struct.pack(">d", v) for v in values]
    assert [record["as float32"] for record in records[:2]] == [float(np.float32(v)) for v in values[:2]]
    assert [record["step"] for record in records] == list(range(len(values)))


def test_visualdl_keeps_every_float32_exactly_and_rounds_a_float64_to_the_nearest(tmp_path):
    values = [0.1, np.float32(0.1), 1 / 3, np.float32(1e-45), -0.0, float("inf"), float("nan")]
    log = VisualDLLogger(tmp_path, "run")
    for step, value in enumerate(values):
        log.log_scalars({"x": value}, step)
    log.close()
    points = read_scalars(tmp_path / "vdlrecords.run.log")["x"]
    expected = [np.array(value, ">f4").tobytes().hex() for value in values]
    assert [bits for _, _, bits in points] == expected
    assert points[0][:2] == (0, float(np.float32(0.1)))


def test_the_wall_clock_does_not_change_the_length_of_a_record(kind, tmp_path, monkeypatch):
    sizes = []
    for now in (1763689200.0, 1763689200.12, 1763689201.1234567):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        log = make(kind, tmp_path / str(now))
        log.log_scalars({"train/loss": 0.5}, 0)
        log.close()
        sizes.append(size(kind, tmp_path / str(now)))
    assert len(set(sizes)) == 1


def test_what_it_lacks_names_a_missing_a_shorter_a_renamed_and_a_foreign_log(kind, logger, tmp_path):
    for step in range(10):
        logger.log_scalars({"train/loss": 0.5}, step)
    state = saved(logger)
    logger.close()
    path, offset = path_of(kind, tmp_path), state["offset"]
    assert logger.lacks(state) == []
    assert list(map(str, logger.lacks({"file": "old.log", "offset": offset}))) == [
        f"name of the log: old.log -> {path.name}"
    ]

    (line,) = map(str, logger.lacks({**state, "offset": offset - 3}))
    assert line.startswith(f"log {path}: a record ended at byte {offset - 3} -> the last one ends at ")

    os.truncate(path, offset - 3)
    assert list(map(str, logger.lacks(state))) == [f"log {path}: {offset} bytes -> {offset - 3} bytes"]
    path.unlink()
    assert list(map(str, logger.lacks(state))) == [f"log {path}: {offset} bytes -> no file"]


def test_a_shorter_log_continues_after_its_last_whole_record(kind, logger, tmp_path):
    for step in range(10):
        logger.log_scalars({"train/loss": 0.5}, step)
    state = saved(logger)
    os.truncate(path_of(kind, tmp_path), state["offset"] - 3)
    logger.set_state_dict(state)
    logger.log_scalars({"train/loss": 0.25}, 10)
    logger.flush()
    assert [step for step, _ in losses(kind, tmp_path)] == [*range(9), 10]


@pytest.mark.parametrize("how", ["deleted", "renamed", "foreign"])
def test_a_lost_log_begins_anew_with_the_last_values_and_says_so_once(how, kind, logger, tmp_path):
    for step in range(10):
        logger.log_scalars({"train/loss": 0.5 + step}, step)
    state = saved(logger)
    logger.close()
    path = path_of(kind, tmp_path)
    if how == "deleted":
        path.unlink()
    elif how == "foreign":
        path.write_bytes(b"somebody's notes" * 1000)
    else:
        state = {**state, "file": "old.log"}
    again, told = make(kind, tmp_path), []
    again.tell = told.append
    for _ in range(2):  # A resume restores twice where callbacks of the user's begin.
        again.set_state_dict(state)
    again.log_scalars({"train/loss": 0.25}, 10)
    again.close()
    assert losses(kind, tmp_path) == [(9, 9.5), (10, 0.25)]
    assert len(told) == 1 and told == again.losses
    assert "it was begun anew, with the last values that the checkpoint knows" in told[0]
    kept = [each.name for each in tmp_path.glob("*.old1")]
    assert len(kept) == (how != "deleted") and not any("vdlrecords" in name for name in kept)


@pytest.mark.parametrize("state", [{}, {"file": "f"}, {"file": "f", "offset": -1}, {"file": 3, "offset": 0}])
def test_a_state_that_is_no_cursor_is_refused(logger, state):
    for use in (logger.lacks, logger.set_state_dict):
        with pytest.raises(CheckpointError, match="Expected a log's cursor"):
            use(state)


def test_a_tag_that_a_log_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'a%b' as '/'"):
        VisualDLLogger(tmp_path, "run").log_scalars({"a%b": 1.0}, 0)
    with pytest.raises(ConfigError, match="the tag 'time' is taken"):
        JsonlLogger(tmp_path).log_scalars({"time": 1.0}, 0)


def test_a_full_disk_leaves_whole_records_and_loses_none(kind, tmp_path):
    """A file size limit stands for the full disk: both end a write in the middle."""
    resource = pytest.importorskip("resource")
    logger = make(kind, tmp_path)
    logger.log_scalars({"train/loss": 0.0}, 0)
    before = saved(logger)["offset"]
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (before + 100, hard))
    try:
        for step in range(1, 20):
            logger.log_scalars({"train/loss": float(step)}, step)
        with pytest.raises(SaveError, match="Could not save"):
            logger.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert size(kind, tmp_path) == before

    logger.close()
    assert losses(kind, tmp_path) == [(step, float(step)) for step in range(20)]


def test_a_reader_sees_only_whole_records_while_another_process_writes(kind, tmp_path):
    with start_child(kind, tmp_path, 0, 10**9, cursor_at=1, pause=0.001) as child:
        try:
            child.stdout.readline()
            lengths = []
            for _ in range(20):
                steps = [step for step, _ in losses(kind, tmp_path)]
                assert steps == list(range(len(steps)))
                lengths.append(len(steps))
                time.sleep(0.01)
        finally:
            child.kill()
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_visualdl_reads_the_log_as_its_own(tmp_path):
    from visualdl import LogReader
    from visualdl.reader.reader import is_VDLRecord_file

    run_child("visualdl", tmp_path, 0, 30)
    path = str(path_of("visualdl", tmp_path))
    assert is_VDLRecord_file(path, check=True)
    points = LogReader(file_path=path).get_data("scalar", "train/loss")
    assert [(point.id, point.value) for point in points] == losses("visualdl", tmp_path)


@contextmanager
def visualdl_server(folder, output):
    """The real server over `folder`: a function that gives a tag's [step, value] pairs as it shows them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "visualdl.server.app", "--logdir", str(folder), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--api-only", "--cache-timeout", "0.001"]
    query = urllib.parse.urlencode({"run": str(folder), "tag": "train/loss"})
    url = f"http://127.0.0.1:{port}/api/scalar/list?{query}"

    def curve():
        with urllib.request.urlopen(url, timeout=WAIT) as reply:
            return [(step, value) for _, step, value in json.load(reply)["data"]]

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with output.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            wait_until(listens)
            yield curve
        finally:
            server.kill()


def test_a_running_visualdl_server_shows_one_unbroken_curve_across_a_kill_and_a_resume(tmp_path):
    folder = tmp_path / "run"
    run_child("visualdl", tmp_path / "untouched", 0, 600)
    expected = losses("visualdl", tmp_path / "untouched")
    run_child("visualdl", folder, 0, 1)
    with visualdl_server(folder, tmp_path / "server.log") as curve:
        assert curve() == expected[:1]
        make("visualdl", folder).start_over()
        assert curve() == expected[:1], "an empty file is no error to the server"

        state = kill_after_cursor("visualdl", folder, 200, pause=0.002)
        dead = len(losses("visualdl", folder))
        assert 200 < dead < 600
        assert curve() == losses("visualdl", folder)

        resumed = make("visualdl", folder)
        resumed.set_state_dict(state)
        assert [step for step, _ in curve()] == list(range(dead)), "the server keeps what it has read"
        resumed.log_scalars({"train/loss": expected[200][1]}, 200)
        resumed.close()
        assert [step for step, _ in curve()] == list(range(dead)), "nothing is doubled meanwhile"

        run_child("visualdl", folder, 200, 600, state=state)
        assert curve() == expected


# ---------------------------------------------------------------- histograms, images and graphs


def visual(folder, kind):
    """What the one record of this kind holds."""
    from visualdl.proto.record_pb2 import Record

    records = [Record.FromString(content) for content in _payloads(path_of("visualdl", folder).read_bytes())]
    (value,) = [value for record in records for value in record.values if value.WhichOneof("one_value") == kind]
    return getattr(value, kind)


@pytest.mark.parametrize(
    ("values", "total", "low", "high"),
    [
        ([[0, 1], [2, 3]], 4, 0, 3),
        ([1, np.nan, 5, np.inf], 2, 1, 5),
        ([0, 0, 0], 3, -0.5, 0.5),
        ([1e8, 1e8], 2, 0.999e8, 1.001e8),
        ([1, np.nextafter(1, 2)], 2, 0.999, 1.001),
        (np.array([-3e38, 3e38], "float32"), 2, -3e38, 3e38),
        ([True, False, True], 3, 0, 1),
    ],
)
def test_a_histogram_counts_every_finite_value_between_its_edges(values, total, low, high, tmp_path):
    log = VisualDLLogger(tmp_path, "run")
    log.log_histogram("weights", np.array(values), 3, buckets=7)
    log.close()
    found = visual(tmp_path, "histogram")
    assert (len(found.hist), len(found.bin_edges), sum(found.hist)) == (7, 8, total)
    assert (found.bin_edges[0], found.bin_edges[-1]) == pytest.approx((low, high), rel=1e-6)


def test_a_histogram_of_nothing_finite_is_left_out(tmp_path):
    log = VisualDLLogger(tmp_path, "run")
    log.log_histogram("weights", np.array([np.nan, -np.inf]), 0)
    log.log_histogram("weights", np.zeros([0, 3]), 0)
    log.close()
    assert not path_of("visualdl", tmp_path).exists()


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_an_image_keeps_every_pixel(shape, tmp_path):
    from PIL import Image

    image = np.random.RandomState(0).randint(0, 256, shape).astype("uint8")
    log = VisualDLLogger(tmp_path, "run")
    log.log_image("input", image, 3)
    log.close()
    found = Image.open(io.BytesIO(visual(tmp_path, "image").encoded_image_string))
    assert np.asarray(found).tobytes() == image.tobytes()


@pytest.mark.parametrize("image", [np.zeros([4, 4]), np.zeros([4, 4, 2], "uint8"), np.zeros([4], "uint8")])
def test_what_is_no_image_is_refused(image, tmp_path):
    with pytest.raises(ConfigError, match=r"the image 'input' is .* expected uint8 of shape \[H, W\] or \[H, W, 3\]"):
        VisualDLLogger(tmp_path, "run").log_image("input", image, 0)


def test_histograms_and_images_are_cut_back_and_go_on_like_scalars(tmp_path):
    def look(log, step):
        log.log_histogram("weights", np.arange(step + 2), step)
        log.log_scalars({"loss": step}, step)
        log.log_image("input", np.full([3, 3], step, "uint8"), step)

    untouched, killed = (VisualDLLogger(tmp_path / name, "run") for name in ("untouched", "killed"))
    for step in range(4):
        look(untouched, step)
    look(killed, 0)
    look(killed, 1)
    state = killed.state_dict()
    look(killed, 2)
    killed.close()
    resumed = VisualDLLogger(tmp_path / "killed", "run")
    assert resumed.lacks(state) == []
    resumed.set_state_dict(state)
    for step in (2, 3):
        look(resumed, step)
    for log in (untouched, resumed):
        log.close()
    ours, theirs = (read_values(path_of("visualdl", tmp_path / name)) for name in ("untouched", "killed"))
    assert ours == theirs
    assert [kind for _, _, kind, _ in ours] == ["histogram", "value", "image"] * 4


def test_a_tag_with_a_percent_sign_is_refused_for_every_kind(tmp_path):
    log = VisualDLLogger(tmp_path, "run")
    with pytest.raises(ConfigError, match="'a%b' as '/'"):
        log.log_histogram("a%b", np.ones(3), 0)
    with pytest.raises(ConfigError, match="'a%b' as '/'"):
        log.log_image("a%b", np.zeros([3, 3], "uint8"), 0)


def test_a_new_graph_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    log = VisualDLLogger(tmp_path / "run", "run")
    for graph in ("{}", '{"nodes": []}'):
        log.log_graph(graph)
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == {"vdlgraph.run.log": graph}


def test_a_graph_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(SaveError, match=r"Could not save .*vdlgraph.run.log"):
        VisualDLLogger(tmp_path / "run", "run").log_graph("{}")
