"""Training that goes on from a file gives the bits that it would have had without a break; a killed process loses nothing."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import numbadl as nd

nn, train = nd.nn, nd.train
QUIET = {"progress": False}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(90, 6)).astype(np.float32), RNG.integers(0, 3, 90)


def make_model(dtype=np.float32):
    layers = [nn.Linear(6, 16), nn.BatchNorm(16, momentum=None), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)]
    return nn.Sequential(*layers, seed=2, dtype=dtype)


def options(**change):
    return {
        "loss": "cross_entropy", "batch_size": 16, "validation_data": (X[:30], Y[:30]), "seed": 4,
        "regularizer": nd.regularizers.L1L2(1e-3, 1e-3, proximal=True), **QUIET, **change,
    }  # fmt: skip


def bits(model, optimizer, history):
    """Everything that training leaves."""
    saved = optimizer.state_dict()
    arrays = [a.tobytes() for group in saved["state"] for state in group for a in state.values()]
    rest = saved["steps"], [group["lr"] for group in saved["groups"] if not callable(group["lr"])]
    return [v.tobytes() for v in model.state().values()], arrays, rest, history.epochs, history.metrics


OPTIMIZERS = {
    "AdamW": lambda: nd.optim.AdamW(lr=nd.optim.schedules.Cosine(0.02, total=40, warmup=5), ema_decay=0.9),
    "ScheduleFreeAdamW": lambda: nd.optim.ScheduleFreeAdamW(lr=0.02),
    "NAdam": lambda: nd.optim.NAdam(lr=0.01, lookahead=4),
    "SGD": lambda: nd.optim.SGD(lr=0.1, momentum=0.9, gradient_accumulation_steps=4, clip_norm=1.0),
}
SLOW = ("NAdam", "SGD")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in OPTIMIZERS])
@pytest.mark.parametrize("how", ["checkpoint", "save"])
def test_to_the_bit_for_any_number_of_threads(tmp_path, on_threads, name, how):
    path = tmp_path / "run.safetensors"

    def without_a_break():
        model, optimizer = make_model(), OPTIMIZERS[name]()
        return bits(model, optimizer, model.fit(X, Y, optimizer=optimizer, epochs=5, **options()))

    def begun():
        model, optimizer = make_model(), OPTIMIZERS[name]()
        checkpoint = [train.ModelCheckpoint(path)] * (how == "checkpoint")
        history = model.fit(X, Y, optimizer=optimizer, epochs=2, callbacks=checkpoint, **options())
        if how == "save":
            model.save(path, optimizer=optimizer, history=history)

    def resumed():
        model, optimizer = nn.load(path), OPTIMIZERS[name]()
        callbacks = [train.ModelCheckpoint(tmp_path / "other.safetensors")] * (how == "checkpoint")
        history = model.fit(X, Y, optimizer=optimizer, epochs=5, callbacks=callbacks, resume=path, **options())
        return bits(model, optimizer, history)

    expected = without_a_break()
    begun()
    assert all(found == expected for found in on_threads(resumed))


class Scripted(train.Callback):
    """Gives the history a measure that training does not change."""

    values = (5.0, 4.0, 3.0, 3.5, 3.5, 3.5, 3.5, 3.5)

    def on_epoch_end(self, model, history):
        history.metrics.setdefault("val_score", []).append(self.values[len(history.epochs) - 1])


def with_callbacks(path, optimizer):
    return [
        Scripted(),
        train.ModelCheckpoint(path),
        train.EarlyStopping("val_score", patience=4),
        train.ReduceOnPlateau(optimizer, "val_score", factor=0.5, patience=1),
        train.AverageWeights(0.9, start_epoch=3),
        train.GradientMonitor(vanishing=0),
        train.LossMonitor(),
        train.LearningRateSchedule(lambda epoch: 0.01 * (epoch + 1)),
    ][:-1]


@pytest.mark.parametrize("first", [1, 4, 7])
def test_callbacks_continue(tmp_path, first):
    """Early stopping in epoch 7 with the weights of epoch 3, the rates of the plateau, the mean of the weights."""

    def run(path, epochs, resume=None):
        model, optimizer = make_model(), nd.optim.SGD(lr=0.05)
        callbacks = with_callbacks(path, optimizer)
        history = model.fit(
            X, Y, optimizer=optimizer, epochs=epochs, callbacks=callbacks, resume=resume, **options()
        )  # fmt: skip
        monitor, losses = callbacks[5:]
        seen = (monitor.epochs, monitor.norms, list(losses._last), callbacks[2].best_epoch, callbacks[2].stopped_epoch)
        return bits(model, optimizer, history), seen

    expected = run(tmp_path / "a.safetensors", 8)
    assert expected[1][3:] == (3, 7) and expected[0][3] == list(range(1, 8))
    run(tmp_path / "b.safetensors", first)
    assert run(tmp_path / "c.safetensors", 8, resume=tmp_path / "b.safetensors") == expected


def test_iterables_and_augmentation_continue(tmp_path):
    path = tmp_path / "run.safetensors"

    def batches():
        while True:
            for k in range(0, 90, 30):
                yield X[k : k + 30], Y[k : k + 30]

    def run(epochs, resume=None, save=False):
        model, optimizer = make_model(), nd.optim.SGD(lr=0.05)
        history = model.fit(
            batches(), loss="cross_entropy", optimizer=optimizer, steps_per_epoch=2, epochs=epochs, resume=resume,
            augmentation=nd.data.augmentation.Noise(0.1), **QUIET,
        )  # fmt: skip
        if save:
            model.save(path, optimizer=optimizer, history=history)
        return bits(model, optimizer, history)

    expected = run(4)
    run(3, save=True)
    assert run(4, resume=path) == expected


def test_all_epochs_done_is_no_more_training(tmp_path):
    path, model, optimizer = tmp_path / "run.safetensors", make_model(), nd.optim.SGD(lr=0.05)
    history = model.fit(X, Y, optimizer=optimizer, epochs=2, **options())
    model.save(path, optimizer=optimizer, history=history)
    other, its = make_model(), nd.optim.SGD(lr=0.05)
    assert bits(other, its, other.fit(X, Y, optimizer=its, epochs=2, resume=path, **options())) == bits(
        model, optimizer, history
    )


# -- killed ----------------------------------------------------------------------------------------------------------------
KILLED = """
import os, signal, sys
import numpy as np
import numbadl as nd
from numbadl.kernels import atomic

path, moment = sys.argv[1], sys.argv[2]
sys.path.insert(0, sys.argv[3])
import test_resume as t

calls = 0

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

class Due(nd.train.Callback):
    def on_epoch_end(self, model, history):
        if len(history.epochs) < 3:
            return
        if moment == "before writing":
            nd.nn.files.save_file = die
        elif moment == "half written":
            write = nd.nn.files.save_file
            def half(tensors, name, header):
                write(tensors, name, header)
                os.truncate(name, os.path.getsize(name) // 2)
                die()
            nd.nn.files.save_file = half
        elif moment == "before renaming":
            atomic.os.replace = die
        else:
            replace = os.replace
            def after(*arguments):
                replace(*arguments)
                die()
            atomic.os.replace = after

model, optimizer = t.make_model(), nd.optim.AdamW(lr=0.01)
callbacks = [Due(), nd.train.ModelCheckpoint(path)]
model.fit(t.X, t.Y, optimizer=optimizer, epochs=5, callbacks=callbacks, **t.options())
"""


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("half written", 2),
        ("after renaming", 3),
        *(pytest.param(moment, 2, marks=pytest.mark.slow) for moment in ("before writing", "before renaming")),
    ],
)
def test_killed_while_saving(tmp_path, moment, left):
    """Whatever the moment, the file is that of an epoch, and training goes on from it to the same bits."""
    from pathlib import Path

    path = tmp_path / "run.safetensors"
    command = [sys.executable, "-c", KILLED, path, moment, Path(__file__).parent]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr

    def finished(resume):
        model, optimizer = make_model(), nd.optim.AdamW(lr=0.01)
        history = model.fit(
            X, Y, optimizer=optimizer, epochs=5, callbacks=[train.Callback(), train.Callback()][: 2 * (not resume)],
            resume=resume, **options(),
        )  # fmt: skip
        return bits(model, optimizer, history)

    assert train.state.read(path).history.epochs == list(range(1, left + 1))
    assert nn.load(path).predict(X).shape == (90, 3)
    without_names(path)
    assert finished(path) == finished(None)


def without_names(path):
    """Leave the callbacks' names out of a file, whose class is known to the killed process only."""
    with safe_open(path, framework="numpy") as file:
        header, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    header["training"] = json.dumps({**json.loads(header["training"]), "callbacks": []})
    save_file(tensors, path, header)


# -- errors ------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path, model, optimizer = tmp_path_factory.mktemp("run") / "run.safetensors", make_model(), nd.optim.SGD(lr=0.05)
    stopping = train.EarlyStopping()
    history = model.fit(X, Y, optimizer=optimizer, callbacks=[stopping], **options())
    model.save(path, optimizer=optimizer, history=history, callbacks=[stopping])
    return path


def changed(model=None, optimizer=None, **change):
    """A fit that resumes with something else than what was saved."""
    optimizer = optimizer or nd.optim.SGD(lr=0.05)
    change = {"callbacks": [train.EarlyStopping()], **change}
    return model or make_model(), optimizer, {**options(), **change}


ERRORS = {
    "optimizer: got AdamW, the training in .* has SGD": lambda: changed(optimizer=nd.optim.AdamW()),
    "its optimiser's state is that of other": lambda: changed(
        optimizer=nd.optim.SGD(lr=1.0, groups=None, momentum=0.9)
    ),
    "seed: got 5, the training in .* has 4": lambda: changed(seed=5),
    r"callbacks: got \[\], the training in .* has \['EarlyStopping'\]": lambda: changed(callbacks=[]),
    "tensors do not fit the layers; missing": lambda: changed(
        nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3))
    ),
    "its layer has float64": lambda: changed(make_model(np.float64)),
}


@pytest.mark.parametrize("message", ERRORS)
def test_what_does_not_fit_changes_nothing(saved, message):
    model, optimizer, given = ERRORS[message]()
    if "state" in message:
        message = "state: shapes"
    before = [value.copy() for value in model.state().values()]
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, optimizer=optimizer, resume=saved, epochs=3, **given)
    assert all(np.array_equal(a, b) for a, b in zip(model.state().values(), before, strict=True))
    assert not optimizer.is_bound


def test_files_without_a_training(tmp_path, saved):
    model, optimizer = make_model(), nd.optim.SGD(lr=0.05)
    model.save(tmp_path / "plain.safetensors")
    with pytest.raises(nn.ModelFileError, match="has a model, but no training to resume"):
        model.fit(X, Y, optimizer=optimizer, resume=tmp_path / "plain.safetensors", **options())
    with pytest.raises(FileNotFoundError):
        model.fit(X, Y, optimizer=optimizer, resume=tmp_path / "none.safetensors", **options())
    content = saved.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(nn.ModelFileError, match="not a readable safetensors file"):
        model.fit(X, Y, optimizer=optimizer, resume=tmp_path / "cut.safetensors", **options())
    with safe_open(saved, framework="numpy") as file:
        header, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for damage in ("{", "[]", '{"history": 3, "callbacks": []}', '{"callbacks": []}'):
        save_file(tensors, tmp_path / "bad.safetensors", {**header, "training": damage})
        with pytest.raises(nn.ModelFileError, match="the description of the training is damaged"):
            model.fit(X, Y, optimizer=optimizer, resume=tmp_path / "bad.safetensors", **options())
    with pytest.raises(TypeError, match="optimizer: got None, needed beside history"):
        model.save(tmp_path / "x.safetensors", history=train.History())
    with pytest.raises(TypeError, match="history: got dict, accepted is what fit returns"):
        model.save(tmp_path / "x.safetensors", optimizer=nd.optim.SGD(model, lr=0.1), history={})
    with pytest.raises(ValueError, match="optimizer: is bound to other parameters"):
        model.save(tmp_path / "x.safetensors", optimizer=nd.optim.SGD(make_model(), lr=0.1))
    assert not (tmp_path / "x.safetensors").exists()
