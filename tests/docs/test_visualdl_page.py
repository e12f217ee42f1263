"""VisualDL as a person sees it: its server and a real browser show a run that was killed three times as one curve."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forking import run_and_compare
from PIL import Image

from paddle_resume.loggers.visualdl import VisualDLLogger, read_scalars
from paddle_resume.testing import Kill

RUN = "mnist_mlp"
LOG = Path("log", RUN, f"vdlrecords.{RUN}.log")
STEPS = 40  # 8 epochs of 5 steps
KILLS = [Kill("step", after=9), Kill("save", after=18, count=7), Kill("step", after=31)]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Nothing but the page itself: a browser that is new calls home otherwise.
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# What the charts of the page hold. The module is the one that the page drew them with; [time, step, value, smoothed
# value, seconds since the first] is a point.
LOOK = """async () => {
    const echarts = await import(location.origin + "/app/__snowpack__/pkg/echarts.js");
    const charts = [...document.querySelectorAll(".echarts")].map(box => [box, echarts.getInstanceByDom(box)]);
    return charts.filter(([box, chart]) => chart && chart.getOption().series.length).map(([box, chart]) => {
        const option = chart.getOption(), place = box.getBoundingClientRect();
        const x = step => place.x + chart.convertToPixel({xAxisIndex: 0}, step);
        const drawn = option.series.filter(series => series.data.length);
        const steps = drawn.length ? drawn[0].data.map(point => point[1]) : [0];
        return {
            tag: option.title[0].text,
            curves: drawn.map(series => ({run: series.name, points: series.data, color: series.lineStyle.color})),
            box: {x: place.x, y: place.y, width: place.width, height: place.height},
            from: x(Math.min(...steps)) - place.x,
            to: x(Math.max(...steps)) - place.x,
        };
    });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium with a profile of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the extra `browser`")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=list(SWITCHES), timeout=60_000)
        yield started
        started.close()


@pytest.fixture(scope="module")
def runs(browser: Any, tmp_path_factory: pytest.TempPathFactory, tiny_mnist: Path) -> Path:
    """A folder with `straight` and `killed`, the same run without and with three real SIGKILLs."""
    folder = tmp_path_factory.mktemp("runs")
    program = ["-m", "paddle_resume", "train", "-c", RUN]
    for override in (
        f"data.root={tiny_mnist}",
        "data.global_batch_size=10",
        "trainer.epochs=8",
        "trainer.log_every=1",
        "checkpoint.every_steps=4",
    ):
        program += ["-o", override]
    proof = run_and_compare(program, folder, KILLS, timeout=120)
    assert proof.holds, proof.explain()
    return folder


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of VisualDL's server on the logs below `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "visualdl.server.app", "--logdir", "log", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--language", "en", "--disable-telemetry"]
    with (folder / "server.txt").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/alive", process, folder / "server.txt")
        yield address
    finally:
        process.kill()
        process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.HTTPError:
            return  # It answers.
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"VisualDL's server did not come up:\n{output.read_text()}")


def charts_of(browser: Any, folder: Path, tags: str) -> tuple[dict[str, dict[str, Any]], Image.Image, list[str]]:
    """What the page draws for the tags that match `tags`: each chart, the picture of the page, and foreign requests."""
    foreign: list[str] = []
    with server(folder) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        page.on("request", lambda request: foreign.append(request.url) if address not in request.url else None)
        page.goto(f"{address}/app/scalar", wait_until="domcontentloaded", timeout=60_000)
        page.get_by_placeholder("Search tags in RegExp").fill(tags)
        page.get_by_text("Step", exact=True).wait_for(timeout=60_000)
        end, before, charts = time.monotonic() + 60, None, []
        # Until the page stands still: the charts come one by one, and each is animated.
        while time.monotonic() < end and not (charts and charts == before and all(c["curves"] for c in charts)):
            if any(not re.match(tags, chart["tag"]) for chart in charts):  # It was filled in before the tags came.
                page.get_by_placeholder("Search tags in RegExp").fill("")
                page.get_by_placeholder("Search tags in RegExp").fill(tags)
            time.sleep(1)
            before, charts = charts, page.evaluate(LOOK)
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        page.close()
    return {chart["tag"]: chart for chart in charts}, picture, foreign


def float32(values: list[float]) -> bytes:
    return np.asarray(values, np.float32).tobytes()


def columns_with(color: str, chart: dict[str, Any], picture: Image.Image) -> np.ndarray:
    """For each pixel column of the chart whether something of about this color is in it."""
    box = chart["box"]
    left, top = round(box["x"]), round(box["y"])
    area = picture.crop((left, top, left + round(box["width"]), top + round(box["height"])))
    wanted = np.array(struct.unpack("3B", bytes.fromhex(color.lstrip("#"))))
    return (np.abs(np.asarray(area).astype(int) - wanted).max(axis=2) < 60).any(axis=0)


def test_the_page_shows_a_run_that_was_killed_three_times_as_one_unbroken_curve(browser: Any, runs: Path) -> None:
    charts, picture, foreign = charts_of(browser, runs / "killed", "^(train|valid)/")
    straight = read_scalars(runs / "straight" / LOG)
    assert set(charts) == {tag for tag in straight if not tag.startswith("test/")} >= {"train/loss", "valid/acc"}
    for tag, chart in charts.items():
        assert {curve["run"] for curve in chart["curves"]} == {os.path.join("log", RUN)}, tag
        for curve in chart["curves"]:  # the values, and over them the smoothed ones
            assert [point[1] for point in curve["points"]] == [step for step, _, _ in straight[tag]], tag
            drawn = float32([point[2] for point in curve["points"]])
            assert drawn == float32([value for _, value, _ in straight[tag]]), tag
        has_curve = columns_with(chart["curves"][0]["color"], chart, picture)
        first, last = round(chart["from"]), round(chart["to"])
        assert last - first > 100, f"{tag}: the curve is {last - first} pixels wide"
        assert has_curve[first + 1 : last - 1].all(), f"{tag}: the curve has a gap in the picture"
    assert [step for step, _, _ in straight["train/loss"]] == list(range(1, STEPS + 1))
    assert foreign == []


def test_the_page_would_show_it_if_steps_were_doubled_or_missing(browser: Any, tmp_path: Path) -> None:
    """The control: what a restart leaves that neither cuts its log back nor saves at each step is drawn otherwise."""
    steps = [*range(1, 20), *range(15, 30), *range(33, STEPS + 1)]
    logger = VisualDLLogger(tmp_path / LOG.parent, RUN)
    for step in steps:
        logger.log_scalars({"train/loss": 1 / step}, step)
    logger.close()
    charts, _, _ = charts_of(browser, tmp_path, "^train/loss$")
    assert [point[1] for point in charts["train/loss"]["curves"][0]["points"]] == steps != list(range(1, STEPS + 1))
