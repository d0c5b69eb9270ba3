"""The command line, end to end: training, prediction, and one clear line for whatever is wrong."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import numbadl as nd
from numbadl import cli
from numbadl.data import load_digits
from numbadl.data.digits import digits_table

N = 120


def write_csv(path, columns):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def problem(task, seed=0):
    """A small data set for each task that a short training must learn: columns, and the names of the targets."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(5, 3, N), rng.normal(-1, 0.01, N)
    colour = rng.choice(["red", "green"], N)
    score = (a - 5) / 3 + (b + 1) / 0.01 + (colour == "red")
    targets = {
        "regression": {"price": 1e5 + 2e4 * score},
        "binary": {"sold": np.where(score > 0.5, "yes", "no")},
        "multiclass": {"size": np.digitize(score, [-0.4, 1.4]) + 3},
        "multilabel": {"high": (score > 0.5).astype(int), "far": (a > 5).astype(int)},
    }[task]
    return {"a": a, "b": b, "colour": colour, **targets}, list(targets)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder of its own: runs/ must not appear in the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """One training with nothing but defaults, in a process of its own; its folder and what it printed."""
    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, "-m", "numbadl", "train"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return types.SimpleNamespace(folder=folder, out=done.stdout, err=done.stderr)


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def fails(capsys, *arguments):
    """Run a command that must fail on the user's input; returns the message after checking its form."""
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("numbadl: error: ") and error.count("\n") == 1 and "Traceback" not in error
    return error


def files():
    """All files below the test's folder."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def table_row(out, name):
    """The numbers in the row of a printed metrics table."""
    rows = [line.split() for line in out.splitlines() if line.split()[:1] == [name]]
    return [float(cell) for cell in rows[-1][1:]]


# -- train -------------------------------------------------------------------------------------


def test_training_on_the_digits_reports_and_saves(digits_run):
    for expected in ("device", "threads", "1,797 rows, 64 features", "1,347 for training, 450 for testing", "Linear"):
        assert expected in digits_run.out
    train, test = table_row(digits_run.out, "accuracy")
    assert train > 0.98 and test > 0.96
    assert (digits_run.folder / "runs/digits/learning_curves.png").read_bytes().startswith(b"\x89PNG")
    model = nd.nn.load(digits_run.folder / "runs/digits/model.safetensors")
    assert model.metadata["numbadl_train"]["classes"] == list("0123456789")
    assert "epoch" in digits_run.err.lower() or "%" in digits_run.err  # the progress bar


def test_default_training_reaches_97_percent(capsys):
    accuracies = []
    for seed in range(3):
        assert run("train", "--quiet", "--seed", seed) == 0
        accuracies.append(table_row(capsys.readouterr().out, "accuracy")[1])
    assert np.median(accuracies) >= 0.97, accuracies


@pytest.mark.parametrize(
    ("task", "metric", "bound"),
    [
        ("regression", "r2", 0.8),
        ("binary", "accuracy", 0.8),
        ("multiclass", "accuracy", 0.75),
        ("multilabel", "accuracy", 0.8),
    ],
)
def test_every_task_from_training_to_prediction(capsys, task, metric, bound):
    columns, targets = problem(task)
    data = write_csv("data.csv", columns)
    assert run("train", "--data", data, "--target", ",".join(targets), "--out", "here", "--quiet") == 0
    out = capsys.readouterr().out
    assert table_row(out, metric)[1] > bound
    printed_loss = table_row(out, "loss")[1]
    assert files() == ["data.csv", "here/history.csv", "here/learning_curves.png", "here/model.safetensors"]
    with open("here/history.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["epoch"]) for line in lines] == list(range(1, len(lines) + 1))
    # The last epoch's validation is of the weights that were saved, as the printed table is.
    assert float(lines[-1]["val_loss"]) == pytest.approx(printed_loss, rel=1e-4)

    assert run("predict", "here/model.safetensors", data, "--evaluate") == 0
    printed = capsys.readouterr()
    header, *rows = list(csv.reader(io.StringIO(printed.out)))
    assert header[: len(targets)] == targets and len(rows) == N
    assert table_row(printed.err, metric)[0] > bound
    if task == "regression":
        errors = np.array(rows, float)[:, 0] - columns["price"]
        assert np.sqrt(np.mean(errors**2)) == pytest.approx(table_row(printed.err, "rmse")[0], rel=1e-3)
    else:
        right = [[row[k] == str(columns[name][n]) for k, name in enumerate(targets)] for n, row in enumerate(rows)]
        assert np.mean(right) == pytest.approx(table_row(printed.err, "accuracy")[0], abs=1e-4)


def test_npz_files_and_their_own_test_rows(capsys):
    x_train, y_train, x_test, y_test = load_digits()
    np.savez("images.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    assert run("train", "--data", "images.npz", "--epochs", 5) == 0
    out = capsys.readouterr().out
    assert "1,347 for training, 450 for testing" in out and table_row(out, "accuracy")[1] > 0.9
    np.savez("new.npz", X=x_test, y=y_test)
    assert run("predict", "runs/images/model.safetensors", "new.npz", "--evaluate") == 0
    assert table_row(capsys.readouterr().err, "accuracy")[0] == pytest.approx(table_row(out, "accuracy")[1], abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "used", "warning"),
    [
        ("full", 90, ""),
        ("1", 1, "no batch normalisation"),
        ("7", 7, ""),
        ("89", 90, "90 rows per update instead of 89"),  # 89 would leave a batch of one row, without statistics
        ("100000", 90, ""),
    ],
)
def test_batch_sizes(capsys, asked, used, warning):
    data = write_csv("data.csv", problem("binary")[0])
    assert run("train", "--data", data, "--target", "sold", "--batch-size", asked, "--epochs", 3) == 0
    printed = capsys.readouterr()
    assert f"3 epochs, {used} rows per update" in printed.out and warning in printed.err
    assert ("warning" in printed.err) == bool(warning)


@pytest.mark.parametrize(
    "options",
    [
        ["--layers", "none"],
        ["--layers", "16,8", "--activation", "tanh", "--no-batch-norm", "--dropout", "0"],
        ["--optimizer", "sgd", "--lr", "0.1", "--weight-decay", "1e-4"],
        ["--activation", "silu", "--optimizer", "AdamW", "--device", "cpu", "--test-fraction", "0.4"],
        ["--task", "regression", "--ignore", "b,colour"],
    ],
    ids=" ".join,
)
def test_options_reach_the_network(capsys, options):
    data = write_csv("data.csv", problem("multiclass")[0])
    assert run("train", "--data", data, "--target", "size", "--epochs", 3, *options) == 0
    model = nd.nn.load("runs/data/model.safetensors")
    kinds = [type(layer).__name__ for layer in model.layers]
    if "none" in options:
        assert kinds == ["Linear"]
    if "tanh" in options:
        assert kinds == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]


def test_same_seed_same_model(capsys):
    data = write_csv("data.csv", problem("multiclass")[0])
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        run(
            "train", "--data", data, "--target", "size", "--epochs", 3, "--seed", seed, "--model", f"{name}.safetensors"
        )
        run("predict", f"{name}.safetensors", data, "--out", f"{name}.csv")
    one, two, three = (Path(f"{name}.csv").read_text() for name in ("one", "two", "three"))
    assert one == two != three
    assert "one.png" in files()


def test_training_that_diverges_saves_nothing(capsys):
    data = write_csv("data.csv", problem("regression")[0])
    command = ["train", "--data", data, "--target", "price", "--optimizer", "sgd", "--lr", "1e20", "--no-batch-norm"]
    assert run(*command, "--epochs", 20, "--quiet") == 2
    assert "diverged" in capsys.readouterr().err
    assert files() == ["data.csv"]


def test_comparison_of_optimisers(capsys):
    columns, targets = problem("regression")
    data = write_csv("data.csv", columns)
    command = ["train", "--data", data, "--target", *targets, "--layers", "8", "--epochs", "4", "--quiet"]
    assert run(*command, "--compare", "sgd,Adam", "--out", "both") == 0
    out = capsys.readouterr().out
    with open("both/comparison.csv", encoding="utf-8") as file:
        rows = {row["optimizer"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"sgd", "adam"} and [rows[name]["lr"] for name in ("sgd", "adam")] == ["0.05", "0.001"]
    losses = [float(row["val_loss"]) for row in rows.values()]
    assert losses == sorted(losses) and all(f"{loss:.4g}" in out for loss in losses)
    assert sorted(path.name for path in Path("both").iterdir()) == ["comparison.csv", "comparison.png"]

    assert run(*command, "--optimizer", "sgd", "--out", "alone") == 0  # the same training as by itself
    loss = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("loss"))[2]
    assert loss == f"{float(rows['sgd']['val_loss']):.5g}"

    assert run(*command, "--compare", "sgd,adam", "--lr", "1e20", "--out", "far") == 0
    captured = capsys.readouterr()
    assert "numbadl: warning: sgd: the loss is" in captured.err and "sgd        1e+20" in captured.out
    assert "accepted are optimizers for all of them, and lars" in fails(capsys, *command, "--compare", "sgd,adan2")
    assert "--compare writes no model" in fails(capsys, *command, "--compare", "sgd", "--model", "m.safetensors")


def test_training_without_matplotlib(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    data = write_csv("data.csv", problem("binary")[0])
    assert run("train", "--data", data, "--target", "sold", "--epochs", 2, "--quiet") == 0
    assert "warning: no learning curves" in (error := capsys.readouterr().err) and "numbadl[plot]" in error
    assert files() == ["data.csv", "runs/data/history.csv", "runs/data/model.safetensors"]


def test_interruption_is_quiet_and_leaves_nothing(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(nd.nn.Sequential, "fit", interrupted)
    assert run("train", "--quiet") == 130
    assert capsys.readouterr().err.strip() == "numbadl: interrupted"
    assert files() == []


@pytest.mark.parametrize("epochs", [0, 2])
def test_interruption_saves_what_was_learnt(capsys, monkeypatch, epochs):
    """Ctrl-C in the second step of an epoch; before the first whole epoch there is no curve to draw."""
    begun, one_epoch, update = [], nd.train.fit._epoch, nd.optim.Optimizer.step

    def pressed(*arguments, **options):
        begun[-1] += 1
        if len(begun) > epochs and begun[-1] == 2:
            signal.raise_signal(signal.SIGINT)
        return update(*arguments, **options)

    def counted(*arguments):
        begun.append(0)
        return one_epoch(*arguments)

    monkeypatch.setattr(nd.train.fit, "_epoch", counted)
    monkeypatch.setattr(nd.optim.Optimizer, "step", pressed)
    data = write_csv("data.csv", problem("regression")[0])
    assert run("train", "--data", data, "--target", "price", "--epochs", 9, "--batch-size", 45, "--quiet") == 130
    printed = capsys.readouterr()
    steps = 2 * epochs + 1
    assert f"numbadl: training was interrupted after {steps} steps ({epochs} whole epochs)" in printed.err
    assert "and is saved" in printed.err and "Traceback" not in printed.err
    curves = ["runs/data/history.csv", "runs/data/learning_curves.png"] if epochs else []
    assert files() == ["data.csv", *curves, "runs/data/model.safetensors"]
    assert ("not drawn: no epoch was completed" in printed.out) == (not epochs)
    assert nd.nn.load("runs/data/model.safetensors").metadata["numbadl_train"]["epochs"] == epochs
    assert run("predict", "runs/data/model.safetensors", data) == 0


def test_another_file_of_the_same_name_gets_a_folder_of_its_own(capsys):
    first, second = Path("one", "data.csv"), Path("two", "data.csv")
    for path, seed in ((first, 0), (second, 1)):
        path.parent.mkdir()
        write_csv(path, problem("binary", seed)[0])
    train = ["train", "--target", "sold", "--epochs", 1, "--quiet", "--data"]
    model, other = Path("runs/data/model.safetensors"), Path("runs/data-2/model.safetensors")
    assert run(*train, first) == 0 and capsys.readouterr().err == ""
    kept = model.read_bytes()
    assert "no column 'nothing'" in fails(
        capsys, *train, second, "--target", "nothing"
    )  # one line: no folder is spoken of
    assert run(*train, second) == 0
    message = f"{Path('runs/data')} holds the model of other data, and stays; this one goes to {Path('runs/data-2')}"
    printed = capsys.readouterr()
    assert printed.err == f"numbadl: warning: {message}\n" and str(other) in printed.out
    assert model.read_bytes() == kept and other.exists()
    assert run(*train, first.resolve(), "--seed", 1) == 0 and model.read_bytes() != kept
    assert run(*train, second, "--out", "runs/data") == 0, "a folder that was named is taken"
    model.write_bytes(b"not a model")
    assert run(*train, first) == 0 and Path("runs/data-3/model.safetensors").exists()
    assert model.read_bytes() == b"not a model"


def test_a_file_named_digits_is_not_the_digits(capsys):
    data = write_csv("digits.csv", problem("binary")[0])
    assert run("train", "--epochs", 1, "--quiet") == 0
    assert run("train", "--data", data, "--target", "sold", "--epochs", 1, "--quiet") == 0
    assert "runs/digits-2" in capsys.readouterr().err
    assert run("train", "--epochs", 1, "--quiet") == 0
    assert capsys.readouterr().err == "", "the digits again take the place of the digits"


# -- convolutions, checkpoints -----------------------------------------------------------------


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


@pytest.fixture
def given_to_fit(monkeypatch):
    """What `fit` is called with, one dict for each call; nothing is trained."""
    calls = []

    def fit(model, *_, **options):
        calls.append({"model": model, **options})
        return nd.train.History()

    monkeypatch.setattr(nd.nn.Sequential, "fit", fit)
    monkeypatch.setattr("numbadl._command_train._metrics", lambda *_: {"train": {"loss": 0.0}})
    return calls


def digits_images(x):
    return x.reshape(-1, 8, 8)


def test_convolutional_net_from_training_to_prediction(capsys):
    """The net is the one that was asked for, knows the images' shape from the file, and predicts from rows of numbers."""
    x_train, y_train, x_test, y_test = load_digits()
    images = {"x_train": digits_images(x_train), "x_test": digits_images(x_test), "y_train": y_train, "y_test": y_test}
    np.savez("images.npz", **images)
    command = [
        "train",
        "--data",
        "images.npz",
        "--conv",
        "8x2,16",
        "--epochs",
        12,
        "--lr",
        0.02,
        "--augment",
        "shift=1",
    ]
    assert run(*command, "--schedule", "one-cycle", "--quiet") == 0
    accuracy = table_row(capsys.readouterr().out, "accuracy")[1]
    assert accuracy > 0.9
    model = nd.nn.load("runs/images/model.safetensors")
    block = ["Conv2d", "BatchNorm", "ReLU"]
    assert kinds(model) == [
        "Reshape",
        *block,
        *block,
        "MaxPool2d",
        "Dropout",
        *block,
        "MaxPool2d",
        "Dropout",
        "Flatten",
        "Linear",
    ]
    assert model.layers[0].shape == (1, 8, 8) and model.layers[-1].in_features == 16 * 2 * 2

    write_csv("new.csv", {**{f"x{k}": x_test[:, k] for k in range(64)}, "y": y_test})
    assert run("predict", "runs/images/model.safetensors", "new.csv", "--evaluate") == 0
    printed = capsys.readouterr()
    assert table_row(printed.err, "accuracy")[0] == pytest.approx(accuracy, abs=1e-5)
    labels = np.array([row.split(",")[0] for row in printed.out.splitlines()[1:]], int)
    standardised = (x_test - x_train.mean()) / x_train.std()  # one mean and one scale for all pixels
    assert np.array_equal(labels, model.predict(standardised).argmax(axis=1))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--conv", "4,4", "--layers", "6"],
            ["Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d", "Flatten", "Linear", "Linear"],
        ),
        (["--conv", "2", "--image", "2x4x8"], ["Conv2d", "MaxPool2d", "Flatten", "Linear"]),
    ],
    ids=" ".join,
)
def test_convolutional_nets_as_they_are_asked_for(given_to_fit, options, expected):
    assert run("train", *options, "--activation", "tanh", "--no-batch-norm", "--dropout", "0", "--quiet") == 0
    net = given_to_fit[0]["model"]
    assert [kind for kind in kinds(net) if kind != "Tanh"] == ["Reshape", *expected]
    assert all(layer.bias for layer in net.layers if isinstance(layer, nd.nn.Conv2d))
    assert net.layers[0].shape == ((2, 4, 8) if "--image" in options else (1, 8, 8))


def bits(model):
    return {key: array.tobytes() for key, array in nd.nn.load(model).state().items()}


def small_run(*options):
    columns, targets = problem("multiclass")
    data = write_csv("data.csv", columns)
    return ["train", "--data", data, "--target", *targets, "--layers", "8", "--batch-size", 16, "--quiet", *options]


def test_resumed_run_has_the_bits_of_one_without_a_break(capsys):
    """Dropout, noise, order and the optimiser's state go on where they were, and all options come from the checkpoint."""
    command = small_run("--augment", "noise=0.1", "--clip-norm", 0.5, "--early-stopping", 30, "--seed", 3)
    assert run(*command, "--epochs", 5, "--out", "whole") == 0
    assert run(*command, "--epochs", 2, "--checkpoint", "--out", "parts") == 0
    first = bits("parts/model.safetensors")
    checkpoint = Path("parts/checkpoint.safetensors")
    assert run("predict", checkpoint, "data.csv") == 0, "a checkpoint is a model, too"
    assert run("train", "--resume", checkpoint, "--epochs", 5, "--quiet") == 0
    for name in ("history.csv", "learning_curves.png"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    whole, parts = Path("whole/model.safetensors"), Path("parts/model.safetensors")
    assert bits(whole) == bits(parts) != first
    assert nd.nn.load(whole).metadata == nd.nn.load(parts).metadata
    assert nd.nn.load(parts).metadata["numbadl_train"]["epochs"] == 5
    error = fails(capsys, "train", "--resume", checkpoint)
    assert "--epochs: got 5, but the run in parts/checkpoint.safetensors has 5 already; accepted are more" in error


def test_interrupted_run_goes_on_with_its_schedule(capsys, monkeypatch):
    command = small_run("--schedule", "cosine", "--warmup", 0.2, "--epochs", 4)
    assert run(*command, "--model", "whole.safetensors") == 0
    one_epoch = nd.train.fit._epoch

    def pressed(training, *rest):
        if training.epoch == 3 and training.optimizer.steps:
            signal.raise_signal(signal.SIGINT)
        return one_epoch(training, *rest)

    monkeypatch.setattr(nd.train.fit, "_epoch", pressed)
    assert run(*command, "--model", "parts.safetensors", "--checkpoint") == 130
    assert "; --resume parts.checkpoint.safetensors goes on after epoch 2" in capsys.readouterr().err
    monkeypatch.setattr(nd.train.fit, "_epoch", one_epoch)
    resume = ["train", "--resume", "parts.checkpoint.safetensors"]
    assert "--schedule cosine of the run in" in fails(capsys, *resume, "--epochs", 5)
    assert run(*resume, "--quiet") == 0
    assert Path("parts.history.csv").read_text() == Path("whole.history.csv").read_text()
    assert bits("parts.safetensors") == bits("whole.safetensors")


def test_early_stopping_keeps_the_best_epoch_and_rows_of_its_own(capsys):
    command = [argument for argument in small_run() if argument != "--quiet"]
    assert run(*command, "--early-stopping", 2, "--epochs", 150, "--lr", 0.3, "--checkpoint") == 0
    out = capsys.readouterr().out
    assert "72 for training, 18 for validation, 30 for testing" in out
    with open("runs/data/history.csv", encoding="utf-8") as file:
        losses = [float(line["val_loss"]) for line in csv.DictReader(file)]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 150 and f"{len(losses)}; the weights are those of epoch {best + 1}" in out
    assert table_row(out, "loss")[1] == pytest.approx(losses[best], rel=1e-4)
    assert "the run stopped early" in fails(capsys, "train", "--resume", "runs/data/checkpoint.safetensors")


def test_what_cannot_be_resumed(capsys, monkeypatch):
    assert run(*small_run("--epochs", 1, "--checkpoint")) == 0
    monkeypatch.setattr(nd.nn.Sequential, "fit", lambda *_, **__: pytest.fail("training began"))
    checkpoint, model = Path("runs/data/checkpoint.safetensors"), Path("runs/data/model.safetensors")
    before = {path: Path(path).read_bytes() for path in files()}

    def refused(*options, resume=checkpoint):
        return fails(capsys, "train", "--resume", resume, "--epochs", 3, *options)

    assert f"--layers: got 9, the run in {checkpoint} has 8" in refused("--layers", "9")
    assert f"--conv: got 4x2,8, the run in {checkpoint} was begun without it" in refused("--conv", "4x2,8")
    assert "--no-batch-norm: got False" in refused("--no-batch-norm")
    assert "--resume: --compare trains" in refused("--compare", "sgd")
    assert "no training to resume" in refused(resume=model)
    assert "No such file" in refused(resume="absent.safetensors")
    assert "data.csv: not a readable safetensors file" in refused(resume="data.csv")
    write_csv("other.csv", problem("multiclass", seed=1)[0])
    assert "other.csv: holds other data than the run in" in refused("--data", "other.csv")
    assert {path: Path(path).read_bytes() for path in files() if path != "other.csv"} == before

    with safe_open(checkpoint, framework="numpy") as file:
        header, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    training = json.loads(header["training"])
    training["state"]["steps"] = -1
    save_file(tensors, "damaged.safetensors", {**header, "training": json.dumps(training)})
    assert "damaged.safetensors: state: steps is -1, accepted are integers" in refused(resume="damaged.safetensors")

    net = nd.nn.Sequential(nd.nn.Linear(4, 3))
    optimizer = nd.optim.AdamW(net)
    net.save("python.safetensors", optimizer=optimizer)
    assert "none that numbadl train --checkpoint saved" in refused(resume="python.safetensors")
    net.save("net.safetensors", nd.nn.load(checkpoint).metadata, optimizer=optimizer)
    assert "net.safetensors: tensors do not fit the layers" in refused(resume="net.safetensors")


def test_schedules_and_clipping_reach_the_optimiser(given_to_fit):
    schedules = nd.optim.schedules
    steps = 10 * 6  # 90 rows, 16 for each update
    for options, expected in [
        (["--schedule", "cosine", "--warmup", 0.1], schedules.Cosine(0.001, total=steps - 6, warmup=6)),
        (["--schedule", "linear", "--lr", 0.1], schedules.Polynomial(0.1, total=steps)),
        (["--schedule", "one-cycle", "--optimizer", "sgd"], schedules.OneCycle(0.05, total=steps)),
        (["--warmup", 0.5], schedules.Constant(0.001, warmup=30)),
        (["--schedule", "constant", "--clip-norm", 2], 0.001),
    ]:
        assert run(*small_run("--epochs", 10, *options)) == 0
        optimizer = given_to_fit[-1]["optimizer"]
        assert optimizer.hyperparameters["lr"] == expected
        assert optimizer.whole["clip_norm"] == (2 if "--clip-norm" in options else None)
    assert run(*small_run("--schedule", "plateau")) == 0
    names = [type(callback).__name__ for callback in given_to_fit[-1]["callbacks"]]
    assert names == ["ReduceOnPlateau", "Counted", "CSVLogger"]


@pytest.mark.parametrize("error", [RuntimeError, TypeError, ValueError])
def test_defects_keep_their_traceback(monkeypatch, error):
    def defective(*_, **__):
        raise error("a defect")

    monkeypatch.setattr(nd.nn.Sequential, "fit", defective)
    with pytest.raises(error, match="a defect"):
        run("train", "--quiet")


# -- predict -----------------------------------------------------------------------------------


def digits_columns(rows):
    table = digits_table()
    return {name: table.x[rows, k].astype(int) for k, name in enumerate(table.feature_names)}


def test_prediction_equals_the_model_and_ignores_order_and_extra_columns(digits_run, capsys):
    model_file = digits_run.folder / "runs/digits/model.safetensors"
    rows = digits_table().test_rows
    columns = digits_columns(rows)
    assert run("predict", model_file, write_csv("plain.csv", columns), "--out", "out/plain.csv") == 0
    shuffled = {"note": ["", "x"] * 225, **dict(reversed(columns.items())), "digit": [-1] * 450}
    assert run("predict", model_file, write_csv("shuffled.csv", shuffled)) == 0
    text = Path("out/plain.csv").read_text()
    assert capsys.readouterr().out == text

    header, *printed = list(csv.reader(io.StringIO(text)))
    assert header == ["digit", *(f"probability_{digit}" for digit in range(10))]
    _, _, x_test, y_test = load_digits()
    logits = nd.nn.load(model_file).predict(x_test).astype(float)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.array(printed, float)[:, 1:], probabilities, rtol=2e-5, atol=1e-9)
    labels = np.array(printed)[:, 0].astype(int)
    assert np.array_equal(labels, logits.argmax(axis=1))
    assert np.mean(labels == y_test) == pytest.approx(table_row(digits_run.out, "accuracy")[1], abs=1e-5)


def test_prediction_into_a_pipe_that_closes(digits_run):
    data = write_csv("many.csv", digits_columns(np.arange(1797)))
    command = f"{sys.executable} -m numbadl predict {digits_run.folder}/runs/digits/model.safetensors {data} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("digit,") and done.stderr == ""


def test_bad_rows_leave_the_old_predictions(digits_run, capsys):
    columns = digits_columns(np.arange(10))
    columns["pixel_3_3"] = [*map(str, columns["pixel_3_3"][:-1]), "nan"]
    write_csv("bad.csv", columns)
    Path("out.csv").write_text("old")
    message = fails(
        capsys, "predict", digits_run.folder / "runs/digits/model.safetensors", "bad.csv", "--out", "out.csv"
    )
    assert "bad.csv, line 11, column 'pixel_3_3': got 'nan'" in message
    assert files() == ["bad.csv", "out.csv"] and Path("out.csv").read_text() == "old"


def test_files_that_do_not_fit_the_model(digits_run, capsys):
    model_file = digits_run.folder / "runs/digits/model.safetensors"
    columns = digits_columns(np.arange(10))
    write_csv("strange.csv", {**columns, "digit": [*range(9), 17]})
    message = fails(capsys, "predict", model_file, "strange.csv", "--evaluate")
    assert "line 11, column 'digit': got class 17, accepted are '0', '1'" in message
    del columns["pixel_0_5"]
    write_csv("missing.csv", columns)
    assert "no column 'pixel_0_5'; the columns are" in fails(capsys, "predict", model_file, "missing.csv")
    np.savez("narrow.npz", x=np.zeros((4, 63)))
    assert "has 63 columns, the model takes 64" in fails(capsys, "predict", model_file, "narrow.npz")
    assert "absent.csv: No such file" in fails(capsys, "predict", model_file, "absent.csv")


def test_files_that_are_no_models(digits_run, capsys):
    good = (digits_run.folder / "runs/digits/model.safetensors").read_bytes()
    write_csv("data.csv", digits_columns(np.arange(10)))
    spoiled = {"empty": b"", "text": b"a,b\n1,2\n", "short": good[:-100], "header": good[:50], "pickle": b"\x80\x04N."}
    for name, content in spoiled.items():
        Path(name).write_bytes(content)
        assert name in fails(capsys, "predict", name, "data.csv")
    save_file({"weight": np.zeros((2, 2), np.float32)}, "foreign.safetensors")
    assert "foreign.safetensors" in fails(capsys, "predict", "foreign.safetensors", "data.csv")
    assert "absent" in fails(capsys, "predict", "absent", "data.csv")
    nd.nn.Sequential(nd.nn.Linear(64, 10), seed=0).save("bare.safetensors")
    assert "without the description" in fails(capsys, "predict", "bare.safetensors", "data.csv")


# -- bad input to train ------------------------------------------------------------------------

BAD_TRAINING = {
    "no such file": (["--data", "absent.csv", "--target", "t"], "absent.csv: No such file"),
    "no target": (["--data", "data.csv"], "no target column named; the columns are 'a', 'b', 'colour', 'sold'"),
    "missing column": (["--data", "data.csv", "--target", "prize"], "no column 'prize'; the columns are 'a', 'b'"),
    "NaN": (["--data", "nan.csv", "--target", "t"], "nan.csv, line 3, column 'a': got 'nan'"),
    "folder": (["--data", "folder.csv", "--target", "t"], "folder.csv"),
    "ending": (["--data", "data.xlsx", "--target", "t"], "'.xlsx'"),
    "target without data": (["--target", "sold"], "--target needs --data"),
    "test fraction without data": (["--test-fraction", "0.5"], "--test-fraction needs --data"),
    "task": (["--data", "data.csv", "--target", "sold", "--task", "regression"], "column 'sold'"),
    "task name": (["--task", "ranking"], "invalid choice: 'ranking'"),
    "activation": (["--activation", "rely"], "rely"),
    "optimiser": (["--optimizer", "adamm"], "--optimizer: got 'adamm', accepted are"),
    "no weight decay": (["--optimizer", "rprop", "--weight-decay", "0.1"], "--weight-decay: Rprop has none"),
    "layers": (["--layers", "12,x"], "--layers: got '12,x', accepted are numbers of units"),
    "empty layers": (["--layers", ""], "--layers: got '', accepted are numbers of units parted by commas, each 1 or"),
    "zero layers": (["--layers", "0"], "--layers: got '0', accepted are numbers of units"),
    "target ignored": (
        ["--data", "data.csv", "--target", "sold", "--ignore", "a,sold"],
        "ignore: got 'sold', which is a target",
    ),
    "decimal commas": (
        ["--data", "comma.csv", "--target", "t"],
        "got '0,5', accepted are numbers with a decimal point",
    ),
    "no units": (["--layers", "12,0"], "--layers: got '12,0', accepted are numbers of units"),
    "dropout": (["--dropout", "1"], "got '1', accepted are numbers, 0 or more and below 1"),
    "learning rate": (["--lr", "0"], "got '0', accepted are numbers, above 0"),
    "learning rate nan": (["--lr", "nan"], "got 'nan'"),
    "weight decay": (["--weight-decay", "-1"], "got '-1'"),
    "batch size": (["--batch-size", "0"], "got '0'"),
    "epochs": (["--epochs", "many"], "got 'many'"),
    "seed": (["--seed", "-1"], "got '-1'"),
    "fraction": (["--data", "data.csv", "--target", "sold", "--test-fraction", "1"], "got '1'"),
    "conv": (["--conv", "32x"], "--conv: got '32x', accepted are numbers of channels parted by commas"),
    "too many stages": (["--conv", "4,4,4,4"], "each of which halves the image; accepted for 8x8 are up to 3"),
    "conv on columns": (
        ["--data", "data.csv", "--target", "sold", "--conv", "4"],
        "--conv: data.csv does not say what images its rows are; --image HxW or CxHxW does",
    ),
    "image": (["--conv", "4", "--image", "64"], "--image: got '64', accepted are HEIGHTxWIDTH"),
    "image of another size": (["--conv", "4", "--image", "3x8x8"], "got 3x8x8, 192 numbers; digits has 64 features"),
    "image for nothing": (["--image", "8x8"], "--image: accepted with --conv and with --augment shift or flip"),
    "augmentation": (["--augment", "noise=0.1,turn=3"], "--augment: got 'noise=0.1,turn=3', accepted are noise="),
    "augmentation without its number": (["--augment", "shift"], "--augment: got 'shift', accepted are"),
    "shift of columns": (
        ["--data", "data.csv", "--target", "sold", "--augment", "shift=1"],
        "--augment shift=1: data.csv does not say what images its rows are",
    ),
    "schedule": (["--schedule", "square"], "--schedule: invalid choice: 'square'"),
    "warm-up": (["--warmup", "1"], "--warmup: got '1', accepted are numbers, 0 or more and below 1"),
    "warm-up twice": (["--schedule", "one-cycle", "--warmup", "0.1"], "--warmup: --schedule one-cycle takes none"),
    "clipping": (["--clip-norm", "0"], "--clip-norm: got '0', accepted are numbers, above 0"),
    "patience": (["--early-stopping", "0"], "--early-stopping: got '0'"),
    "stopping a comparison": (["--early-stopping", "3", "--compare", "sgd"], "--early-stopping: --compare trains with"),
    "checkpoint of a comparison": (["--checkpoint", "--compare", "sgd"], "--checkpoint: --compare trains with"),
    "model over the data": (
        ["--data", "plain.history.csv", "--target", "t", "--model", "plain.safetensors"],
        "plain.history.csv: is the data, and would be written",
    ),
    "out is a file": (["--out", "data.csv"], "data.csv: is a file"),
    "model is a folder": (["--model", "folder.csv"], "folder.csv: is a folder"),
    "out and model": (["--out", "x", "--model", "y"], "not allowed with"),
    "unknown option": (["--colour", "red"], "unrecognized arguments: --colour red (see numbadl train --help)"),
}


@pytest.mark.parametrize("case", BAD_TRAINING)
def test_bad_input_stops_before_training(capsys, monkeypatch, tmp_path, case):
    monkeypatch.setattr(nd.nn.Sequential, "fit", lambda *_, **__: pytest.fail("training began"))
    write_csv("data.csv", problem("binary")[0])
    write_csv("nan.csv", {"a": [1, "nan", *range(10)], "t": [0, 1] * 6})
    write_csv("comma.csv", {"a": [f"{k},5" for k in range(12)], "t": [0, 1] * 6})
    write_csv("plain.history.csv", {"a": range(12), "t": [0, 1] * 6})
    (tmp_path / "folder.csv").mkdir()
    before = files()
    options, expected = BAD_TRAINING[case]
    assert expected in fails(capsys, "train", *options)
    assert files() == before


def test_cuda_that_is_not_usable(capsys, monkeypatch):
    from numbadl import _machine

    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr(_machine, "cuda", lambda: (False, "no driver"))
    assert "--device cuda: no driver" in fails(capsys, "train", "--device", "cuda")


def test_folder_without_permission(capsys, tmp_path, monkeypatch):
    import tempfile

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    assert "cannot be written to (Permission denied)" in fails(capsys, "train")


# -- info, help, usage -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"NUMBA_NUM_THREADS": "0"}, "NUMBA_NUM_THREADS: got '0'"),
        ({"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set, but numbadl has to compile its kernels: unset it"),
    ],
)
def test_settings_that_numba_cannot_work_with(settings, message):
    command = [sys.executable, "-c", "import numbadl"]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ImportError: ") and message in done.stderr


def test_info_says_what_runs_where(capsys):
    assert run("info") == 0
    out = capsys.readouterr().out
    for name in ("numbadl", "python", "numba", "llvmlite", "numpy", "cpu", "cpu features", "vector width", "threads"):
        assert f"\n{name} " in f"\n{out}"
    for name in ("threading layer", "available layers", "cuda", "kernel cache"):
        assert f"\n{name} " in out


@pytest.mark.parametrize("error", [ImportError("CUDA needs numba-cuda"), OSError("broken driver")], ids=repr)
def test_info_where_cuda_cannot_even_be_imported(capsys, monkeypatch, error):
    class Broken:
        def __getattr__(self, name):
            raise error

    monkeypatch.setitem(sys.modules, "numbadl.kernels.cuda.compile", Broken())
    assert run("info", "--section", "cuda") == 0
    out = capsys.readouterr().out
    assert out.startswith("cuda  not usable: ") and str(error) in out


def test_help_and_version(capsys):
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(command.name in out for command in cli.COMMANDS)
    for command in cli.COMMANDS:
        assert run(command.name, "--help") == 0
    assert run("--version") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("numbadl 0.")


def test_usage_errors(capsys):
    assert "COMMAND" in fails(capsys)
    assert "'fly'" in fails(capsys, "fly")
    assert "--section: invalid choice: 'x'" in fails(capsys, "info", "--section", "x")


def test_metadata_is_json(digits_run):
    description = nd.nn.load(digits_run.folder / "runs/digits/model.safetensors").metadata["numbadl_train"]
    assert json.loads(json.dumps(description)) == description
