"""What the random states of many ranks weigh in a record, and how long they take: `docs/scale.md`."""

from __future__ import annotations

import time

from paddle_resume import RandomStreams, seed_everything
from paddle_resume.checkpoint.record import FORMAT, Record, decode, encode, encode_state


def main() -> None:
    """One line for each number of ranks: bytes of the record; seconds in the trainer, in the writer, and to read it."""
    seed_everything(1)
    one = RandomStreams(1).state_dict()
    for ranks in (1, 100, 1000, 10000):
        began = time.perf_counter()
        encode_state("rng", [one] * ranks)
        gathered = time.perf_counter()
        record = Record(
            format=FORMAT,
            package="0.1.0",
            name="a_step1",
            sequence=0,
            saved_at="2026-11-21T00:00:00+00:00",
            step=1,
            exact=True,
            files={},
            owners={"rng": [one] * ranks},
            lineage=[],
        )
        raw = encode(record)
        written = time.perf_counter()
        decode(raw)
        times = (gathered - began, written - gathered, time.perf_counter() - written)
        print(ranks, len(raw), *(f"{seconds:.4f}" for seconds in times))


if __name__ == "__main__":
    main()
