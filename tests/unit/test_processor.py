"""What is told apart of processors of one name, and what is not compared since it says nothing of the bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from paddle_resume import processor
from paddle_resume.environment import Environment

MILAN = """\
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 1
model name	: AMD EPYC
stepping	: 1
microcode	: 0xa0011d1
cpu MHz		: 2449.998
flags		: fpu sse sse2 ht avx f16c avx2 fma vaes rdpid
"""
GENOA = MILAN.replace("model		: 1", "model		: 17").replace("avx2", "avx2 avx512f avx512_bf16")
GRAVITON = """\
processor	: 0
Features	: fp asimd evtstrm aes asimdhp sve bf16
CPU implementer	: 0x41
CPU variant	: 0x1
CPU part	: 0xd40
CPU revision	: 1
"""


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a machine is said to be, from such a file of the kernel and such caches."""

    def described(information: str, *caches: tuple[str, str, str]) -> dict[str, str]:
        place = tmp_path / "cpuinfo"
        place.write_text(information, encoding="utf-8")
        for number, values in enumerate(caches):
            folder = tmp_path / "cpu0" / "cache" / f"index{number}"
            folder.mkdir(parents=True)
            for name, value in zip(("level", "type", "size"), values):
                (folder / name).write_text(f"{value}\n", encoding="utf-8")
        monkeypatch.setattr(processor, "_INFORMATION", place)
        monkeypatch.setattr(processor, "_CORES", tmp_path)
        processor._first_cpu.cache_clear()
        return processor.describe_processor()

    yield described
    processor._first_cpu.cache_clear()


def test_a_processor_is_what_chooses_kernels(on: Any) -> None:
    assert on(MILAN, ("1", "Data", "32K"), ("1", "Instruction", "32K"), ("2", "Unified", "512K")) == {
        "cpu": "AMD EPYC",
        "cpu_kind": "AuthenticAMD family 25 model 1 stepping 1",
        "cpu_instructions": "avx avx2 f16c fma sse sse2",
        "cpu_caches": "L1 32K L2 512K",
    }


def test_on_arm_it_has_other_names(on: Any) -> None:
    found = on(GRAVITON)
    assert found["cpu_kind"] == "implementer 0x41 variant 0x1 part 0xd40 revision 1"
    assert found["cpu_instructions"] == "asimd asimdhp bf16 sve"


def test_where_the_system_tells_nothing_it_is_empty(on: Any) -> None:
    assert set(on("")) == {"cpu", "cpu_kind", "cpu_instructions", "cpu_caches"}
    assert on("")["cpu_kind"] == on("")["cpu_instructions"] == on("")["cpu_caches"] == ""


def test_two_of_one_name_differ_in_kind_and_instructions(on: Any) -> None:
    then = {**Environment().state_dict(), **on(MILAN, ("3", "Unified", "32768K"))}
    now = Environment()
    now.state_dict().update(on(GENOA))
    assert [str(one) for one in now.differences(then)] == [
        "environment cpu_kind: AuthenticAMD family 25 model 1 stepping 1 -> AuthenticAMD family 25 model 17 stepping 1",
        "environment cpu_instructions: None -> avx512_bf16 avx512f",
    ]


@pytest.mark.parametrize(
    "changed", [("0xa0011d1", "0xb"), ("2449.998", "3100.0"), ("rdpid", "rdpid user_shstk overflow_recov")]
)
def test_what_changes_with_the_kernel_of_the_system_is_not_compared(on: Any, changed: tuple[str, str]) -> None:
    then = on(MILAN)
    assert on(MILAN.replace(*changed)) == then
    assert MILAN.replace(*changed) != MILAN


def test_another_cache_is_a_difference() -> None:
    environment = Environment()
    then = {**environment.state_dict(), "cpu_caches": "L1 48K"}
    now = environment.state_dict()["cpu_caches"]
    assert list(map(str, environment.differences(then))) == [f"environment cpu_caches: L1 48K -> {now}"]


def test_of_what_a_first_record_does_not_tell_nothing_is_compared() -> None:
    environment = Environment()
    now = environment.state_dict()
    old = {key: value for key, value in now.items() if not key.startswith("cpu_")}
    assert len(old) == len(now) - 3
    assert environment.differences(old) == []


@pytest.mark.parametrize("odd", [None, 3, ["avx"], {"avx": 1}])
def test_an_odd_record_is_a_difference(odd: Any) -> None:
    environment = Environment()
    assert environment.differences({**environment.state_dict(), "cpu_instructions": odd})


def test_cores_are_counted_as_psutil_counts_them() -> None:
    assert processor._all_cores() == psutil.cpu_count(logical=False)
