"""Config files: what they resolve to, and the text of every complaint about them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from places import CONFIGS

from paddle_resume.config import Config, dump_yaml, load_config, trajectory_differences
from paddle_resume.errors import ConfigError

SMALL = "run: {name: small}\nmodel: {name: MNIST}\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(text, *overrides):
    Path("a.yaml").write_text(text, encoding="utf-8")
    return load_config("a.yaml", overrides)


def complaint(text, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    return str(caught.value)


def test_reading_a_config_does_not_import_paddle():
    code = "import sys; import paddle_resume.config; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parent).returncode == 0


def test_a_config_needs_only_a_run_name_and_a_model():
    config = load(SMALL)
    assert config.data.global_batch_size == 32
    assert config.optimizer.lr == 0.001
    assert [metric.name for metric in config.metrics] == ["Accuracy"]
    assert config.run.model_path == "small.pdparams"


def test_the_mnist_config_is_the_classic_recipe():
    config = load_config(CONFIGS / "mnist.yaml")
    assert config.optimizer.lr.name == "PolynomialDecay"
    assert config.optimizer.lr.args == {"learning_rate": 0.01, "end_lr": 0.001, "decay_steps": "auto"}
    assert config.data.fallback == "digits"


@pytest.mark.parametrize(
    ("file", "model"), [("mnist_lenet", "LeNet"), ("mnist_mlp", "MLP"), ("fashion_mnist", "MNIST")]
)
def test_every_other_config_is_the_mnist_config_but_for_what_it_names(file, model):
    config, mnist = load_config(CONFIGS / f"{file}.yaml"), load_config(CONFIGS / "mnist.yaml")
    assert (config.run.name, config.model.name) == (file, model)
    assert config.optimizer == mnist.optimizer
    assert config.trainer == mnist.trainer


def test_fashion_mnist_does_without_the_digits():
    assert load_config(CONFIGS / "fashion_mnist.yaml").data.fallback is None
    with pytest.raises(ConfigError, match="digits stand in for mnist only, not for fashion_mnist"):
        load_config(CONFIGS / "mnist.yaml", ["data.name=fashion_mnist"])


def test_a_printed_config_reads_back_to_the_same_config():
    config = load_config(CONFIGS / "mnist.yaml", ["optimizer.epsilon=1e-8", "model.title='1e-3'"])
    assert load(dump_yaml(config)) == config
    assert Config.model_validate(json.loads(json.dumps(config.to_dict()))) == config


def test_what_a_config_holds_cannot_be_changed():
    config = load(SMALL + "loss: {name: BCELoss, weight: [1, 2]}\n")
    config.loss.args["weight"].append(3)
    assert config.loss.args == {"weight": [1, 2]}
    with pytest.raises(ValueError, match="frozen"):
        config.trainer.epochs = 5


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "1.e-4", ".1e-3", "+1e-4"])
def test_a_number_with_an_exponent_is_a_number_in_files_and_overrides(number):
    assert load(SMALL + f"optimizer: {{lr: {number}}}\n").optimizer.lr == 1e-4
    assert load(SMALL, f"optimizer.lr={number}").optimizer.lr == 1e-4


def test_a_date_stays_a_text():
    assert load(SMALL + "loss: {since: 2024-01-01}\n").loss.args == {"since": "2024-01-01"}


# Errors of value and key


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("trainer: {epochs: '3'}", "a.yaml:3: trainer.epochs is '3'; expected a whole number (passes over"),
        ("trainer: {epochs: 3.5}", "trainer.epochs is 3.5; expected a whole number"),
        ("trainer: {epochs: true}", "trainer.epochs is true; expected a whole number"),
        ("trainer: {epochs: 0}", "trainer.epochs is 0; expected 1 or more"),
        ("trainer: {on_nan: go}", "trainer.on_nan is go; expected 'stop', 'skip', 'rollback' or 'ignore'"),
        ("trainer:", "a.yaml:3: trainer is null; expected a mapping"),
        ("optimizer: {lr: fast}", "optimizer.lr is fast; expected a number"),
        ("optimizer: {lr: 0}", "optimizer.lr is 0; expected more than 0"),
        ("optimizer: {lr: .inf}", "optimizer.lr is .inf; expected a finite number"),
        ("optimizer: {lr: {end_lr: 1}}", "optimizer.lr.name is missing"),
        ("metrics: Accuracy", "metrics is Accuracy; expected a list"),
        ("metrics: [Accuracy]", "metrics.0 is Accuracy; expected a mapping"),
        ("data: {valid: 1.5}", "data.valid is 1.5; expected auto, a count from 1 on, or a fraction"),
        ("data: {valid: true}", "data.valid is true; expected auto"),
        ("data: {name: 3}", "data.name is 3; expected a text"),
        ("loss: {name: ''}", "loss.name is ''; expected a text that is not empty"),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_what_is_expected(line, expected):
    assert expected in complaint(SMALL + line + "\n")


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "a b", ".hidden", "é", ""])
def test_a_run_name_that_is_no_plain_part_of_a_file_name_is_refused(name):
    text = complaint(SMALL, f"run.name='{name}'")
    assert "expected a plain part of a file name: letters, digits, '.', '_' and '-'" in text


@pytest.mark.parametrize("device", ["cuda", "gpu:", "gpu:x", "cpu:0"])
def test_an_unknown_device_is_refused(device):
    text = complaint(SMALL, f"run.device='{device}'")
    assert f"run.device is '{device}'" in text or f"run.device is {device}" in text
    assert "expected auto, cpu, gpu or gpu:N" in text


@pytest.mark.parametrize("valid", ["auto", "100", "0.2"])
def test_the_validation_part_is_auto_a_count_or_a_fraction(valid):
    assert str(load(SMALL, f"data.valid={valid}").data.valid) == valid


def test_a_seed_fits_into_32_bits():
    assert load(SMALL, f"run.seed={2**32 - 1}").run.seed == 2**32 - 1
    assert "expected 4294967295 or less" in complaint(SMALL, f"run.seed={2**32}")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("trainer: {epoch: 3}", "a.yaml:3: trainer.epoch is not a known key; did you mean trainer.epochs?"),
        ("trainers: {epochs: 3}", "trainers is not a known key; did you mean trainer?"),
        ("global_batch_size: 3", "batch_size is not a known key; did you mean data.global_batch_size?"),
        (
            "data: {batchsize: 3}",
            "a.yaml:3: data.batchsize is not a known key; did you mean data.global_batch_size?",
        ),
        ("zzz: 3", "zzz is not a known key; known here: run, model, data"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(line, hint):
    assert hint in complaint(SMALL + line + "\n")


def test_a_dataset_class_takes_arguments_of_its_own():
    config = load(SMALL + "data: {name: 'mine:Set', size: 7}\n")
    assert config.data.args == {"size": 7}


def test_all_problems_are_told_at_once_each_with_its_place():
    lines = complaint(
        "run:\n  name: a b\nmodel: {name: MNIST}\ntrainer:\n  epoch: 3\n  epochs: x\n",
        "data.global_batch_size=0",
        "x",
    ).splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == [
        "-o data.global_batch_size=0",
        "-o x",
        "a.yaml:2",
        "a.yaml:5",
        "a.yaml:6",
    ]


def test_a_missing_section_is_named():
    text = complaint("trainer: {epochs: 3}\n")
    assert "a.yaml: run is missing" in text
    assert "a.yaml: model is missing" in text


# Errors of files


def test_a_missing_file_is_named_with_the_files_that_are_there():
    Path("b.yaml").touch()
    with pytest.raises(ConfigError, match=r"^c\.yaml: no such config file; \. has: b\.yaml$"):
        load_config("c.yaml")


def test_a_folder_is_named_with_the_files_in_it():
    Path("folder").mkdir()
    Path("folder/b.yml").touch()
    with pytest.raises(ConfigError, match=r"^folder: a folder; a config is one file; folder has: folder/b\.yml$"):
        load_config("folder")


def test_an_unreadable_file_is_told(monkeypatch):
    def refuse(path, most):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("paddle_resume.config.yaml_files.read_regular", refuse)
    assert "a.yaml: cannot be read: Permission denied" in complaint(SMALL)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a.yaml: the file is empty"),
        (b"# nothing\n", "a.yaml: the file is empty"),
        (b"- 1\n", "a.yaml:1: a config is a mapping of keys, such as 'run:'; found [1]"),
        (b"run: caf\xe9\n", "a.yaml: not a text in UTF-8 (byte 8)"),
        (b"run:\n\tname: x\n", "a.yaml:2: malformed YAML: "),
        (b"run: {name: x\n", "malformed YAML: while parsing a flow mapping"),
        (b"run: x\n---\nrun: y\n", "a.yaml:2: malformed YAML: expected a single document"),
        (b"run: x\nmodel: \x07\n", "a.yaml:2: malformed YAML: a character that YAML does not allow"),
        (b"run: &a [*a]\n", "malformed YAML: nested too deeply, or an alias inside itself"),
        (b"run: !!python/name:os.system x\n", "a.yaml:1: malformed YAML: could not determine a constructor"),
        (b"run: !!binary aGk=\n", "a.yaml:1: run has the YAML type tag:yaml.org,2002:binary"),
        (b"run: 0b_\n", "a.yaml:1: run is 0b_, which is no number"),
        (b"on: x\n", "a.yaml:1: a key is a text, but YAML does not read on as one; put it in quotes"),
        (
            b"run: &r {name: x}\nmodel: {<<: *r}\n",
            "a.yaml:2: the YAML merge key << is not supported; use _base_",
        ),
    ],
)
def test_a_file_that_is_no_config_is_told_with_its_line(content, expected):
    Path("a.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config("a.yaml")
    assert expected in str(caught.value)


def test_a_key_given_twice_is_an_error_that_names_both_lines():
    text = complaint("run:\n  name: a\n  name: b\nmodel: {name: MNIST}\n")
    assert text == "a.yaml:3: run.name is given twice, first at a.yaml:2"


# Bases


def test_a_config_is_laid_over_its_bases_in_their_order_and_relative_to_itself():
    Path("sub").mkdir()
    Path("sub/one.yaml").write_text("trainer: {epochs: 1, log_every: 1}\nmetrics: [{name: A}, {name: B}]\n")
    Path("sub/two.yaml").write_text("trainer: {log_every: 2, max_steps: 2}\n")
    Path("sub/top.yaml").write_text(
        SMALL + "_base_: [one.yaml, two.yaml]\ntrainer: {max_steps: 3}\nmetrics: [{name: C}]\n"
    )
    config = load_config("sub/top.yaml")
    assert (config.trainer.epochs, config.trainer.log_every, config.trainer.max_steps) == (1, 2, 3)
    assert [metric.name for metric in config.metrics] == ["C"]


def test_a_problem_in_a_base_is_told_with_the_line_of_the_base():
    Path("base.yaml").write_text("\ntrainer: {epochs: x}\n")
    assert complaint(SMALL + "_base_: base.yaml\n").startswith("base.yaml:2: trainer.epochs is x;")


def test_a_problem_in_a_base_of_two_files_is_told_once():
    Path("base.yaml").write_text("trainer: {1: x}\n")
    Path("b.yaml").write_text("_base_: base.yaml\n")
    text = complaint(SMALL + "_base_: [base.yaml, b.yaml]\n")
    assert text.count("YAML does not read trainer.1 as one") == 1


def test_bases_that_lead_in_a_circle_are_an_error():
    Path("b.yaml").write_text("_base_: ./a.yaml\n")
    text = complaint(SMALL + "_base_: b.yaml\n")
    assert text == "b.yaml:1: _base_ names a.yaml, which leads back to where it began: a.yaml -> b.yaml -> a.yaml"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("none.yaml", "a.yaml:3: _base_ names none.yaml: no such config file; . has: a.yaml"),
        ("3", "a.yaml:3: _base_ is 3; expected a file name or a list of them"),
    ],
)
def test_a_base_that_cannot_be_found_is_an_error(base, expected):
    assert complaint(SMALL + f"_base_: {base}\n") == expected


BASE = """
run: {name: base, seed: 7}
model: {name: MLP, hidden: 9}
data: {name: 'mine:Set', size: 7, global_batch_size: 5}
optimizer: {name: AdamW, beta1: 0.8, lr: {name: StepDecay, learning_rate: 0.1, step_size: 2}}
"""


def test_a_component_with_another_name_starts_without_the_arguments_of_the_base():
    Path("base.yaml").write_text(BASE)
    config = load(
        "_base_: base.yaml\nrun: {name: top}\nmodel: {name: LeNet}\ndata: {name: mnist}\n"
        "optimizer: {name: SGD, lr: {name: NoamDecay, d_model: 4}}\n"
    )
    assert (config.model.args, config.data.args, config.optimizer.args) == ({}, {}, {})
    assert config.optimizer.lr.args == {"d_model": 4}
    assert (config.data.global_batch_size, config.run.seed) == (5, 7), "settings that are no arguments stay"


def test_a_component_with_the_same_name_keeps_the_arguments_of_the_base():
    Path("base.yaml").write_text(BASE)
    config = load("_base_: base.yaml\nmodel: {name: MLP, depth: 2}\noptimizer: {lr: {step_size: 3}}\n")
    assert config.model.args == {"hidden": 9, "depth": 2}
    assert config.optimizer.lr.args == {"learning_rate": 0.1, "step_size": 3}


# Overrides


def test_overrides_are_yaml_values_and_reach_into_lists_and_defaults():
    config = load(SMALL, "trainer.epochs=5", "metrics.0.name=Auc", "trainer.max_steps=null", "model.size=[1, 2]")
    assert config.trainer.epochs == 5
    assert config.metrics[0].name == "Auc"
    assert config.model.args == {"size": [1, 2]}


def test_of_two_overrides_of_one_key_the_later_wins():
    assert load(SMALL, "trainer.epochs=5", "trainer.epochs=6").trainer.epochs == 6


@pytest.mark.parametrize("order", [1, -1])
def test_an_override_of_a_name_drops_the_old_arguments_but_none_of_the_command_line(order):
    config = load(BASE, *["model.size=3", "model.name=LeNet"][::order])
    assert config.model.name == "LeNet"
    assert config.model.args == {"size": 3}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.epochs", "-o trainer.epochs: an override is written key=value"),
        ("=5", "-o =5: an override is written key=value"),
        ("a..b=5", "-o a..b=5: an override is written key=value"),
        (
            "trainer.epochs.x=1",
            "-o trainer.epochs.x=1: trainer.epochs is 3, not a mapping, so it has no key x",
        ),
        ("optimizer.lr.end_lr=1", "optimizer.lr is 0.001, not a mapping, so it has no key end_lr"),
        ("metrics.1.name=Auc", "metrics is a list of 1; expected a number from 0 on, found 1"),
        ("metrics.x=Auc", "metrics is a list of 1; expected a number from 0 on, found x"),
        ("trainer.epochs=[", "-o trainer.epochs=[: malformed YAML"),
        ("trainer.epochs=five", "-o trainer.epochs=five: trainer.epochs is five; expected a whole number"),
        (
            "trainer.epoch=5",
            "-o trainer.epoch=5: trainer.epoch is not a known key; did you mean trainer.epochs?",
        ),
    ],
)
def test_an_override_that_cannot_be_applied_is_told_by_its_text(override, expected):
    assert expected in complaint(SMALL, override)


# Differences that alter the trajectory


def differences(*overrides):
    old = load_config(CONFIGS / "mnist.yaml").to_dict()
    return list(map(str, trajectory_differences(old, load_config(CONFIGS / "mnist.yaml", overrides).to_dict())))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("optimizer.lr.end_lr=0.0001", "optimizer.lr.end_lr: 0.001 -> 0.0001"),
        ("optimizer.beta1=0.8", "optimizer.beta1: (absent) -> 0.8"),
        ("model.name=LeNet", "model.name: MNIST -> LeNet"),
        ("run.seed=1", "run.seed: 1024 -> 1"),
        ("data.global_batch_size=64", "data.global_batch_size: 32 -> 64"),
        ("data.valid=0.1", "data.valid: auto -> 0.1"),
        ("data.drop_last=true", "data.drop_last: false -> true"),
        ("data.shuffle=false", "data.shuffle: true -> false"),
        ("loss.reduction=sum", "loss.reduction: (absent) -> sum"),
    ],
)
def test_a_field_that_alters_the_trajectory_is_a_difference(override, line):
    assert differences(override) == [line]


@pytest.mark.parametrize(
    "override",
    [
        "run.name=other",
        "run.save_dir=x",
        "run.log_dir=x",
        "run.model_path=x",
        "run.device=cpu",
        "data.root=x",
        "data.fallback=null",
        "data.num_workers=3",
        "trainer.epochs=9",
        "trainer.max_steps=9",
        "trainer.log_every=9",
        "trainer.on_nan=ignore",
        "metrics=[]",
        "checkpoint.keep=9",
        "checkpoint.every_epochs=null",
    ],
)
def test_a_field_that_does_not_alter_the_trajectory_is_no_difference(override):
    assert differences(override) == []


def test_a_number_in_place_of_a_schedule_is_one_difference():
    new = load(SMALL).to_dict()
    old = load(SMALL, "optimizer.lr={name: NoamDecay, d_model: 4}").to_dict()
    assert list(map(str, trajectory_differences(old, new))) == ["optimizer.lr: {name: NoamDecay, d_model: 4} -> 0.001"]


def test_a_field_that_one_side_lacks_counts_as_its_default():
    new = load(SMALL).to_dict()
    old = load(SMALL).to_dict()
    del old["data"]["shuffle"], old["loss"]
    assert trajectory_differences(old, new) == []
    new["data"]["shuffle"] = False
    assert list(map(str, trajectory_differences(old, new))) == ["data.shuffle: true -> false"]
    del old["model"]
    assert "model: (absent) -> {name: MNIST}" in map(str, trajectory_differences(old, new))


def test_a_field_that_this_version_does_not_know_is_a_difference():
    new, old = load(SMALL).to_dict(), load(SMALL).to_dict()
    old["data"]["mixup"] = 0.2
    assert list(map(str, trajectory_differences(old, new))) == ["data.mixup: 0.2 -> (absent)"]
