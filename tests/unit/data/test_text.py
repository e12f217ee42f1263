"""TextDataset: windows and targets, parts by position, vocabularies, and text that cannot be used."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from paddle_resume.data.text import TextDataset
from paddle_resume.data.tokenizers import ByteTokenizer, CharacterTokenizer
from paddle_resume.errors import ConfigError, DataError

TEXT = "".join(chr(ord("a") + i * i % 26) for i in range(401))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def make(folder, **options):
    return TextDataset(**{"files": "a.txt", "context": 10, "root": str(folder), **options})


def test_a_sample_is_a_window_and_the_token_after_each_of_its_tokens(folder):
    dataset = make(folder)
    ids, targets = dataset[2]
    assert ids.dtype == targets.dtype == np.int64
    assert dataset.tokenizer.decode(ids) == TEXT[20:30]
    assert dataset.tokenizer.decode(targets) == TEXT[21:31]


def test_a_gathered_batch_is_the_stack_of_its_samples_in_order(folder):
    dataset = make(folder)
    indices = np.array([5, 0, 5, len(dataset) - 1])
    for gathered, stacked in zip(dataset.gather(indices), zip(*(dataset[i] for i in indices))):
        assert gathered.dtype == np.int64 and gathered.tobytes() == np.stack(stacked).tobytes()
    for wrong in (lambda: dataset[len(dataset)], lambda: dataset.gather([len(dataset)])):
        with pytest.raises(IndexError):
            wrong()


def test_the_parts_follow_each_other_through_the_whole_text_and_share_no_target(folder):
    parts = [make(folder, mode=mode, valid=6, test=0.25) for mode in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [24, 6, 10]
    decode = parts[0].tokenizer.decode
    targets = "".join(decode(np.concatenate([part[i][1] for i in range(len(part))])) for part in parts)
    assert targets == TEXT[1:401]


def test_the_default_text_comes_with_python_and_is_much_more_than_its_characters():
    dataset = TextDataset()
    assert dataset.ids.size > 200_000 and dataset.ids.dtype == np.uint8
    assert "identifier" in dataset.tokenizer.decode(dataset.ids)
    assert 15 < dataset.unigram_perplexity < 40
    assert dataset.describe() == {"vocab_size": dataset.tokenizer.vocab_size, "context": 128}


def test_a_python_without_the_default_text_says_how_to_go_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match=r"no pydoc_data.*Name files of your own in data\.files"):
        TextDataset()


def test_the_unigram_perplexity_of_equally_frequent_tokens_is_their_number(folder):
    (folder / "b.txt").write_text("abcd" * 25, encoding="utf-8")
    dataset = make(folder, files="b.txt", valid=1, test=1)
    counts = np.bincount(dataset.ids) / len(dataset.ids)
    assert dataset.unigram_perplexity == pytest.approx(math.exp(-(counts * np.log(counts)).sum()))
    assert dataset.unigram_perplexity == pytest.approx(4, abs=0.01)


def test_files_of_a_pattern_are_sorted_and_each_is_read_once(folder):
    (folder / "sub").mkdir()
    for name in ("c", "b"):
        (folder / "sub" / f"{name}.txt").write_text(name * 100, encoding="utf-8")
    dataset = make(folder, files=["sub/c.txt", "sub/*.txt", "a.txt"], context=1, valid=1, test=1)
    assert dataset.tokenizer.decode(dataset.ids) == f"{'c' * 100}\n{'b' * 100}\n{TEXT}"[:-2]
    absolute = make(folder, files=str(folder / "sub" / "*.txt"))
    assert absolute.source.startswith("2 files")


def test_a_file_whose_name_looks_like_a_pattern_is_found(folder):
    (folder / "a[1].txt").write_text(TEXT, encoding="utf-8")
    assert make(folder, files="a[1].txt").identity() == make(folder).identity()


def test_line_ends_and_every_character_come_back_as_they_are(folder):
    text = "é\r\n日本 \U0001f600\ttext\n" * 20
    (folder / "u.txt").write_bytes(text.encode())
    for tokenizer in ("characters", "bytes"):
        dataset = make(folder, files="u.txt", context=1, valid=1, test=1, tokenizer=tokenizer)
        assert dataset.tokenizer.decode(dataset.tokenizer.encode(text)) == text


def test_the_vocabulary_is_the_characters_of_the_text_in_order_and_refuses_others():
    tokenizer = CharacterTokenizer("hello")
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("ehlo").tolist() == [0, 1, 2, 3]
    for unknown in ("z", "i", "\U0001f600"):
        with pytest.raises(DataError, match=f"The character {unknown!r} is not among the 4 characters"):
            tokenizer.encode(f"he{unknown}")


def test_bytes_know_every_text_and_show_a_torn_character_as_such():
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode("日")[:2]) == "\ufffd"


class Words:
    """A tokenizer of somebody else's: the lengths of words."""

    vocab_size = 300

    def __init__(self, shift=0):
        self.shift = shift

    def encode(self, text):
        return [ord(letter) + self.shift for letter in text]

    def decode(self, ids):
        return "".join(chr(id_ - self.shift) for id_ in ids)


def test_any_object_that_encodes_and_decodes_is_a_tokenizer(folder):
    dataset = make(folder, tokenizer=Words())
    assert dataset.ids.dtype == np.uint16
    assert dataset.describe()["vocab_size"] == 300
    assert dataset.tokenizer.decode(dataset[0][0]) == TEXT[:10]


def test_ids_out_of_the_vocabulary_are_told(folder):
    with pytest.raises(DataError, match=r"The tokenizer Words gave int64 \[401\] from 297 to 322; .*= 299"):
        make(folder, tokenizer=Words(shift=200))


def test_identity_changes_with_text_tokens_window_and_part_and_with_nothing_else(folder):
    first = make(folder).identity()
    assert make(folder, root=None, files=str(folder / "a.txt")).identity() == first
    others = [
        make(folder, tokenizer="bytes"),
        make(folder, tokenizer=Words()),
        make(folder, context=5),
        make(folder, mode="valid"),
        make(folder, valid=3),
    ]
    # The same ids from other characters: only the text itself tells.
    (folder / "shifted.txt").write_text(TEXT.translate({ord(c): ord(c) - 32 for c in set(TEXT)}), encoding="utf-8")
    others.append(make(folder, files="shifted.txt"))
    # A change in the test part changes the vocabulary's text, and is told by the training part too.
    (folder / "tail.txt").write_text(TEXT[:-1] + TEXT[0], encoding="utf-8")
    others.append(make(folder, files="tail.txt"))
    assert len({first, *(other.identity() for other in others)}) == 8


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"files": "no.txt"}, DataError, r"data\.files: no\.txt matches no file in .*Give the path of a text file"),
        ({"files": "sub"}, DataError, r"data\.files: sub is a folder"),
        ({"files": []}, ConfigError, r"data\.files is empty"),
        ({"files": "latin.txt"}, DataError, r"latin\.txt is not UTF-8: byte 3 is 0xe9.*iconv -f LATIN1"),
        ({"files": "empty.txt"}, DataError, r"empty\.txt has 0 tokens, .*31 in all"),
        ({"context": 200}, DataError, r"a\.txt has 401 tokens, .*200 tokens each.*601 in all"),
        ({"context": 0}, ConfigError, r"data\.context is 0; expected 1 or more"),
        ({"tokenizer": "words"}, ConfigError, r"data\.tokenizer is 'words'; expected characters or bytes"),
        ({"mode": "dev"}, ConfigError, r"mode is 'dev'; expected train, valid or test"),
        ({"valid": 40}, ConfigError, r"data\.valid: 40 of 36 samples is 40, which leaves 0.*Give a count from 1 to 35"),
        ({"test": 1.0}, ConfigError, r"data\.test: 1\.0 of 40 samples is 40"),
        ({"test": "none"}, ConfigError, r"data\.test is 'none'; expected auto, a count, or a fraction"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_way_out(folder, options, error, text):
    (folder / "sub").mkdir()
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    (folder / "empty.txt").write_text("")
    with pytest.raises(error, match=f"^(?s:.*){text}"):
        make(folder, **options)
