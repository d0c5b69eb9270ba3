"""Models on disk: what comes back is what was saved; a file that is no model says so; a killed process loses nothing."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import numbadl as nd
from numbadl.nn import ModelFileError, Sequential, files, load

nn = nd.nn


def make_model(dtype=np.float32, seed=0):
    layers = [
        nn.Linear(6, 5),
        nn.BatchNorm(5, momentum=None, eps=1e-4),
        nn.SiLU(),
        nn.Dropout(0.5),
        nn.Linear(5, 3, bias=False),
    ]
    return Sequential(*layers, dtype=dtype, seed=seed)


def test_norms_of_every_kind_come_back(tmp_path, rng):
    layers = [
        nn.LayerNorm((4, 9), bias=False),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm(4, affine=True),
        nn.RMSNorm(9, eps=1e-3),
    ]
    model = Sequential(*layers, nn.Flatten(), nn.Linear(36, 2))
    model.flat_parameters[...] += rng.normal(size=model.flat_parameters.size).astype(np.float32)
    model.save(tmp_path / "norms.safetensors")
    again = load(tmp_path / "norms.safetensors")
    x = rng.normal(size=(3, 4, 9)).astype(np.float32)
    assert repr(again) == repr(model) and list(again.state()) == list(model.state())
    assert np.array_equal(again.predict(x), model.predict(x))


def trained(dtype=np.float32):
    """A model whose every tensor differs from its first values."""
    model, rng = make_model(dtype), np.random.default_rng(3)
    x = (rng.normal(size=(40, 6)) * 2 + 1).astype(dtype)
    model.fit(
        x, rng.integers(0, 3, 40), loss="cross_entropy", optimizer=nd.optim.AdamW(lr=0.05), epochs=2, progress=False
    )
    return model, x


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The path of a saved model."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    trained()[0].save(path, metadata={"classes": ["a", "ü"], "mean": [1.5]})
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(dtype, tmp_path):
    model, x = trained(dtype)
    metadata = {"text": "naïve", "nested": {"list": [1, 2.5, None, True]}}
    path = tmp_path / "new" / "folder" / "model.safetensors"
    model.save(path, metadata=metadata)
    again = load(path)
    assert again.metadata == metadata and again.loss == "cross_entropy" and again.dtype == dtype
    assert repr(again) == repr(model) and list(again.state()) == list(model.state())
    for key, value in model.state().items():
        assert again.state()[key].tobytes() == value.tobytes() and again.state()[key].dtype == dtype, key
    assert again.predict(x).tobytes() == model.predict(x).tobytes()
    assert again.evaluate(x, np.zeros(40, int)) == model.evaluate(x, np.zeros(40, int))
    assert [f.name for f in path.parent.iterdir()] == ["model.safetensors"]


def test_a_loaded_model_trains_on(saved, tmp_path):
    model = load(saved)
    rng = np.random.default_rng(0)
    before = model.flat_parameters.copy()
    x = rng.normal(size=(20, 6)).astype(np.float32)
    model.fit(x, rng.integers(0, 3, 20), loss="cross_entropy", optimizer=nd.optim.SGD(lr=0.1), progress=False)
    assert not np.array_equal(before, model.flat_parameters)
    model.save(tmp_path / "again.safetensors")
    assert load(tmp_path / "again.safetensors").metadata == {"classes": ["a", "ü"], "mean": [1.5]}


def test_a_loss_with_options_comes_back(tmp_path):
    model, x = make_model(), np.ones((8, 6), np.float32)
    loss = nd.losses.cross_entropy.with_options(
        weight=np.array([1, 2, 3]), label_smoothing=np.float32(0.5), ignore_index=0
    )
    labels = np.arange(8) % 3
    model.fit(x, labels, loss=loss, optimizer=nd.optim.SGD(lr=0.1), progress=False)
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.loss.given == {"weight": [1, 2, 3], "label_smoothing": 0.5, "ignore_index": 0}
    assert again.evaluate(x, labels) == model.evaluate(x, labels)


def test_every_activation_comes_back(tmp_path):
    for name in nd.ACTIVATIONS:
        model = Sequential(nn.Linear(3, 4), nn.activation_layer(name), nn.Flatten(), nn.Softmax())
        model.save(tmp_path / "m.safetensors")
        assert repr(load(tmp_path / "m.safetensors")) == repr(model)


def test_other_tools_can_read_it(saved):
    tensors = load_file(saved)
    assert tensors["0.weight"].shape == (5, 6) and tensors["1.running_mean"].shape == (5,)


def test_paths_that_are_none():
    for wrong in (3, None, b"model", ["model"]):
        for act in (load, make_model().save):
            with pytest.raises(TypeError, match="path: got .*, accepted are strings and paths"):
                act(wrong)
    for act in (load, make_model().save):
        with pytest.raises(ValueError, match="path: got an empty string"):
            act("")


def test_saving_to_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (".", tmp_path):
        with pytest.raises(IsADirectoryError, match="is a folder; the name of a file is expected"):
            make_model().save(folder)
    assert not list(tmp_path.iterdir())


# -- files that are no model, or are damaged -----------------------------------------------------------------------
def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        load(tmp_path / "nothing-here.safetensors")
    with pytest.raises(OSError, match=tmp_path.name):
        load(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, 0.5, 0.9, -1])
def test_truncated(kept, saved, tmp_path):
    content = saved.read_bytes()
    path = tmp_path / "short.safetensors"
    path.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ModelFileError, match="short.safetensors"):
        load(path)


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04\x95" * 50, b"\xff" * 4096, b"\0" * 4096, b"PK\x03\x04" * 64])
def test_foreign_bytes(content, tmp_path):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="foreign.safetensors"):
        load(path)


def test_foreign_safetensors(tmp_path):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {}, {"format": "pt"}, {"model": "{}"}):
        save_file({"w": np.zeros(3, np.float32)}, path, metadata)
        with pytest.raises(ModelFileError, match="other.safetensors.*not a model of numbadl"):
            load(path)


def rewrite(saved, path, change_tensors=None, change_model=None, **header):
    """The saved model with something changed."""
    from safetensors import safe_open

    tensors = load_file(saved)
    with safe_open(saved, framework="numpy") as file:
        metadata = dict(file.metadata())
    if change_tensors:
        change_tensors(tensors)
    if change_model:
        model = json.loads(metadata["model"])
        metadata["model"] = json.dumps(change_model(model) or model)
    save_file(tensors, path, {**metadata, **header})


def test_rewriting_itself_keeps_it_whole(saved, tmp_path):
    rewrite(saved, tmp_path / "m.safetensors")
    assert repr(load(tmp_path / "m.safetensors")) == repr(load(saved))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("0.bias"), r"missing: \['0.bias'\]"),
        (lambda t: t.update(extra=np.zeros(2, np.float32)), r"unknown: \['extra'\]"),
        (lambda t: t.update({"0.bias": np.zeros(4, np.float32)}), r"0.bias is float32\(4,\), its layer has .*\(5,\)"),
        (lambda t: t.update({"0.bias": np.zeros(5)}), "0.bias is float64"),
        (lambda t: t.update({"0.weight": np.zeros((6, 5), np.float32)}), "0.weight is"),
    ],
)
def test_tensors_that_do_not_fit(change, message, saved, tmp_path):
    rewrite(saved, tmp_path / "m.safetensors", change_tensors=change)
    with pytest.raises(ModelFileError, match=message):
        load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("layers"),
        lambda m: m.pop("dtype"),
        lambda m: m.update(dtype="int8"),
        lambda m: m.update(dtype="nonsense"),
        lambda m: m.update(layers=None),
        lambda m: m.update(layers=["Linear"]),
        lambda m: m["layers"][0].pop("type"),
        lambda m: m["layers"][0].update(type="Pickle"),
        lambda m: m["layers"][0].update(type=["Linear"]),
        lambda m: m["layers"][0].update(in_features=-6),
        lambda m: m["layers"][0].update(in_features="6"),
        lambda m: m["layers"][0].update(in_features=10**15),
        lambda m: m["layers"][0].update(colour="red"),
        lambda m: m["layers"][3].update(p=7),
        lambda m: m["layers"][3].update(p="x"),
        lambda m: [1, 2],
        lambda m: "text",
        lambda m: m.update(metadata=5),
        lambda m: m.update(loss="nonsense"),
        lambda m: m.update(loss={"name": "huber"}),
        lambda m: m.update(loss={"name": "huber", "options": {"delta": -1}}),
        lambda m: m.update(loss={"name": "huber", "options": [1]}),
    ],
)
def test_damaged_description(change, saved, tmp_path):
    def changed(model):
        result = change(model)
        return result if result in ([1, 2], "text") else model

    rewrite(saved, tmp_path / "m.safetensors", change_model=changed)
    with pytest.raises(ModelFileError, match="m.safetensors: (the description of the model is damaged|0.weight is)"):
        load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(("header", "message"), [({"model": "{"}, "damaged"), ({"version": "2"}, "version '2'")])
def test_damaged_header(header, message, saved, tmp_path):
    rewrite(saved, tmp_path / "m.safetensors", **header)
    with pytest.raises(ModelFileError, match=message):
        load(tmp_path / "m.safetensors")


# -- writes that fail --------------------------------------------------------------------------------------------
def test_a_failed_write_keeps_the_old_file(saved, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(saved.read_bytes())

    def fail(tensors, temporary, header):
        temporary.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        make_model().save(path)
    assert path.read_bytes() == saved.read_bytes()
    assert [f.name for f in tmp_path.iterdir()] == [path.name]


def test_metadata_that_is_no_json(saved, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(saved.read_bytes())
    with pytest.raises(TypeError, match="JSON"):
        make_model().save(path, metadata={"x": object()})
    assert path.read_bytes() == saved.read_bytes()
    assert [f.name for f in tmp_path.iterdir()] == [path.name]


KILLED = """
import os, signal, sys
import numbadl as nd
from numbadl.nn import files

def half(tensors, temporary, header):
    temporary.write_bytes(b"half a model")
    os.kill(os.getpid(), signal.SIGKILL)

files.save_file = half
nd.nn.Sequential(nd.nn.Linear(2, 2)).save(sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_write_keeps_the_old_file(saved, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(saved.read_bytes())
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == saved.read_bytes()
    assert repr(load(path)) == repr(load(saved))
