"""A text is known again whatever its values are, and what is not known stays whole and in English."""

from __future__ import annotations

import pytest

from paddle_resume.translations.catalog import catalog_path, read_translations
from paddle_resume.translations.matching import Translator

FEW = [
    ("There is no checkpoint {0}", "没有检查点 {0}"),
    ("{0} has shape {1} in the file and {2} in the model", "{0} 在文件中的形状是 {1}，在模型中是 {2}"),
    ("{0} does not fit {1}: {2}. Nothing was changed.{3}", "{0} 与 {1} 不符：{2}。没有改动任何东西。{3}"),
    ("the model {0}", "模型 {0}"),
    ("{0} Training goes on and tries again at the next save", "{0} 训练继续，到下一次保存时再试"),
    (
        "Could not save {0}: {1}; {2}, then run the same command again",
        "无法保存 {0}：{1}；{2}，然后再执行一次同样的命令",
    ),
    ("Permission denied", "权限不足"),
    ("you may not write there. Choose {0}", "您没有在那里写入的权限。请选择{0}"),
    ("another folder with -o {0}=FOLDER", "另一个文件夹，用 -o {0}=FOLDER"),
    ("{0} resume{s|}", "{0} 次恢复"),
    ("all exact", "全部精确"),
    ("{0} of {1}", "{0} / {1}"),
    ("{0} from {1}", "{0}，来自 {1}"),
]


@pytest.fixture(scope="module")
def few() -> Translator:
    return Translator(FEW, [("Data", "数据")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("There is no checkpoint ck/mnist_epoch0.", "没有检查点 ck/mnist_epoch0。"),
        ("3 resumes, all exact", "3 次恢复，全部精确"),
        ("1 resume", "1 次恢复"),
        ("mnist from data/mnist", "mnist，来自 data/mnist"),
        # One message in another, and several after each other.
        (
            "Could not save ck/a: Permission denied; you may not write there. Choose another folder with "
            "-o run.save_dir=FOLDER, then run the same command again. Training goes on and tries again at the "
            "next save.",
            "无法保存 ck/a：权限不足；您没有在那里写入的权限。请选择另一个文件夹，用 -o run.save_dir=FOLDER，"
            "然后再执行一次同样的命令。训练继续，到下一次保存时再试。",
        ),
        # A last value that is empty, and a list of clauses as a value.
        (
            "a.pdparams does not fit the model Net: w has shape [2] in the file and [3] in the model; "
            "b has shape [1] in the file and [2] in the model. Nothing was changed.",
            "a.pdparams 与模型 Net 不符：w 在文件中的形状是 [2]，在模型中是 [3]；"
            "b 在文件中的形状是 [1]，在模型中是 [2]。没有改动任何东西。",
        ),
    ],
)
def test_a_text_is_said_by_the_messages_it_was_made_of(few: Translator, text: str, said: str) -> None:
    assert few.translate(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "Nobody knows of this text, some of it or the sense of it.",
        "/home/me/all exact/x.txt",
        "3 of the words from which this was made",
        "",
        "42",
        "data/mnist/train-images",
    ],
)
def test_what_is_not_known_stays_as_it_is(few: Translator, text: str) -> None:
    assert few.translate(text) == text


@pytest.mark.parametrize("name", ["我的 数据/甲 乙", "a  b", "run, all (exact", "数据", "C:\\x"])
def test_a_value_stays_letter_by_letter(few: Translator, name: str) -> None:
    assert few.translate(f"There is no checkpoint {name}.") == f"没有检查点 {name}。"


def test_a_single_word_is_said_as_a_heading_and_left_alone_as_a_value(few: Translator) -> None:
    assert few.heading("Data:") == "数据:"
    assert few.translate("There is no checkpoint Data.") == "没有检查点 Data。"


def _messages() -> list[tuple[str, str]]:
    return [(message, said) for message, said, heading in read_translations(catalog_path("zh")) if not heading]


@pytest.fixture(scope="module")
def chinese() -> Translator:
    return Translator(_messages())


def test_where_a_step_is_counted_is_said_whole(chinese: Translator) -> None:
    said = chinese.translate("In step 1 (counted from 0; epoch 0, step 2/4) of the training: a/b.")
    assert said == "在训练的第 1 步（从 0 算起；epoch 0，步 2/4）：a/b。"


@pytest.mark.parametrize(("before", "after"), [("", ""), ("x/y: 1 -> 2\n", ""), ("", "\n  a/b -c d")])
def test_every_message_with_values_is_known_again(chinese: Translator, before: str, after: str) -> None:
    """With values that are no words, alone and between lines; none takes the text of a longer one."""
    from paddle_resume.translations.template import PLACE, filled, letters

    wrong = []
    for message, said in _messages():
        if letters(message) < 9:  # A part of others, and known only where nothing else is.
            continue
        if before and message.startswith("# "):  # The beginning of a page.
            continue
        # Of two places side by side the second is an addition, which may be missing.
        pieces = PLACE.split(message)
        beside = {pieces[place] for place in range(3, len(pieces), 2) if pieces[place - 1] == ""}
        values = {
            place: place.split("|")[0] if "|" in place else "" if place in beside else f"v{number}/x"
            for number, place in enumerate(pieces[1::2])
        }
        text = "".join(values[piece] if place % 2 else piece for place, piece in enumerate(pieces))
        wanted = before + filled(said, values, kept=values) + after
        told = chinese.translate(before + text + after)
        if told != wanted:
            wrong.append(f"{told}\n{wanted}")
    assert not wrong, "\n".join(wrong)


def test_no_message_cuts_through_a_bracket() -> None:
    """What stands before and after it would be no whole text either, and nothing would be known again."""
    messages = [message for message, _, _ in read_translations(catalog_path("zh"))]
    cut = [message for message in messages if message.count("(") != message.count(")")]
    assert messages and cut == []
