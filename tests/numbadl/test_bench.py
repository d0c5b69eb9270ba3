"""``numbadl bench``: its cases, its table, recorded runs and what fell since. Nothing here asserts a time."""

import importlib.util
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from numbadl.kernels.cpu import assembly, pool
from numbadl.kernels.cpu.assembly import operations
from numbadl.kernels.scalar.math import FUNCTIONS
from numbadl.kernels.scalar.updates import UPDATES

import numbadl as nd
from numbadl import bench, cli
from numbadl._command_bench import PEERS, _sizes
from numbadl.bench import Row, Work, elementwise, floors, layers, network, parts, record, roofline, table, timing
from tests import benchmarks_page

ASV = Path(__file__).parents[2] / "asv_benchmarks"


def made_up(name="silu", elements=64, ratio=2.0, **changes):
    peers = {"numpy": {"seconds": 2e-6, "ratio": ratio, "spread": 0.1}}
    row = Row(name, "activations", elements, 1e-6, 0.1, 5e-7, "memory", 0.5, 512, 1280, peers)
    return replace(row, **changes)


@pytest.fixture
def measured(monkeypatch):
    """Rows from nowhere instead of measurements: ratio 2, or what the test puts there by name."""
    ratios = {}

    def rows(case, sizes, peers, repeat, differs):
        return [made_up(case.name, n, ratios.get(case.name, 2.0)) for n in sizes]

    monkeypatch.setattr(bench, "rows", rows)
    return ratios


# -- cases ---------------------------------------------------------------------------------------------------------
def test_every_name_of_the_registries_has_its_cases():
    expected = {f"math.{name}" if name in nd.ACTIVATIONS else name for name in FUNCTIONS}
    for name, activation in nd.ACTIVATIONS.items():
        expected |= {name} if activation.random else {name, f"{name}.derivative", f"{name}.backward"}
        expected |= {f"{name}.backward.of_result"} if activation.of_result else set()
    expected |= {name + what for name in nd.GATED for what in ("", ".backward")}
    expected |= {name + what for name in nd.losses.RECORDS for what in ("", ".value")}
    expected |= set(UPDATES)
    assert expected <= set(bench.CASES)


@pytest.mark.parametrize("name", UPDATES)
def test_a_case_of_an_update_takes_that_update(name):
    kind, options = network.made_by(name)
    bound = kind([np.zeros((4, 4) if name in network.ON_MATRICES else 4, np.float32)], **options)
    assert [launch.record.name for launch in bound._launches] == [name]


def test_every_layer_is_timed_as_a_layer_or_as_its_function():
    functions = {*nd.nn.ACTIVATION_LAYERS.values(), nd.nn.Sequential, nd.nn.Flatten, nd.nn.Reshape}
    timed = {*bench.CASES, *(f"nn.{name}" for name in layers.EXAMPLES)}
    of_functions = {
        "Softmax": "softmax", "LogSoftmax": "log_softmax", "Softmin": "softmin", "Sparsemax": "sparsemax", "GLU": "glu",
        "SwiGLU": "swiglu", "GEGLU": "geglu", "ReGLU": "reglu", "Dropout": "dropout", "AlphaDropout": "alpha_dropout",
        "GaussianDropout": "gaussian_dropout", "FeatureDropout": "feature_dropout", "BatchNorm": "batch_norm",
        "LayerNorm": "layer_norm", "RMSNorm": "rms_norm", "GroupNorm": "group_norm", "InstanceNorm": "instance_norm",
    }  # fmt: skip
    public = {name for name in vars(nd.nn) if nd.nn.LAYERS.get(name) is vars(nd.nn)[name] and name != "Layer"}
    public -= {cls.__name__ for cls in functions}
    assert len(public) > 20
    assert {of_functions.get(name, f"nn.{name}") for name in public} <= timed


@pytest.mark.parametrize(
    "name",
    [
        "numpy",
        "torch",
        pytest.param("compile", marks=pytest.mark.slow),
        "jax",
        "sklearn",
        pytest.param("keras", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_peers_have_no_function_that_no_case_asks_for(name):
    if any(importlib.util.find_spec(package) is None for package in PEERS[name]):
        pytest.skip(f"{' or '.join(PEERS[name])} is not installed")
    peer, cases = importlib.import_module(f"numbadl.bench.{name}_peer"), bench.CASES.values()
    by_table = {
        "FORWARD": {c.name.removeprefix("math.") for c in cases if c.group in ("math", "activations")},
        "BACKWARD": {c.name.removesuffix(".backward") for c in cases if c.group == "backward"},
        "PARTS": {*bench.CASES, "optimizer", "training_step", "network_step"},
        "START": {c.name.removeprefix("start.") for c in cases if c.group == "start"},
    }
    tables = {table: set(getattr(peer, table, ())) for table in by_table}
    assert any(tables.values())
    assert {table: names - by_table[table] for table, names in tables.items() if names - by_table[table]} == {}


IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
from benchmarks import operations, start
from numba.np.ufunc import parallel
from numbadl import bench
from numbadl.kernels.cpu import pool
classes = [value for value in vars(operations).values() if isinstance(value, type) and hasattr(value, "params")]
names = [name for cls in classes for name in cls.params[0]]
assert sorted(names) == sorted(name for name, case in bench.CASES.items() if case.group != "start")
assert not parallel._is_initialized and not pool.started()
"""


def test_asv_has_every_case_and_starts_no_threads_before_it_forks():
    done = subprocess.run([sys.executable, "-c", IMPORT, str(ASV)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- measuring -----------------------------------------------------------------------------------------------------
def test_a_row_has_ratio_floor_and_share(monkeypatch):
    """Times are made up: ours takes 4 s, theirs 12, the copy of twice as many bytes 2."""
    operations_per_lane = {"multiply": 10, "any": 30, "divide": 0, "root": 0}
    beside = dict.fromkeys(operations_per_lane, 0.1), None
    times = {"": np.full(5, 4.0), "numpy": np.full(5, 12.0), "copy": np.full(5, 2.0)}
    monkeypatch.setattr(bench, "turns", lambda *_: (dict(times), [beside] * 5))
    monkeypatch.setattr(floors, "copy_of", lambda moved: type("Copy", (), {"moved": 2 * moved}))
    for counted, floor, bound in (({}, 1.0, "memory"), (operations_per_lane, 3.0, "arithmetic")):
        work = Work(None, [], None, 800, 100, lambda counted=counted: counted)
        row = bench.measure(replace(bench.CASES["silu"], few=None), work, {"numpy": None}, 5)
        assert row.floor == pytest.approx(floor) and row.bound == bound and row.share == pytest.approx(floor / 4)
        assert row.peers == {"numpy": {"seconds": 12.0, "ratio": 3.0, "spread": 0.0}} and row.ours == 4.0


def test_identity_is_measured_beside_numpy():
    differing = []
    (row,) = bench.rows(bench.CASES["identity"], [1 << 12], ["numpy"], 3, lambda *found: differing.append(found))
    assert row.elements == 1 << 12 and row.moved == 8 << 12 and row.ours > 0 and set(row.peers) == {"numpy"}
    assert set(row.parts) == {"call", "loop", "memory"} and row.parts["call"] > 0
    assert not differing


def test_a_peer_with_another_result_is_named_and_not_timed(monkeypatch):
    monkeypatch.setitem(bench.peer("numpy").FORWARD, "identity", lambda x, out: np.add(x, 1, out=out))
    differing = []
    (row,) = bench.rows(bench.CASES["identity"], [1 << 12], ["numpy"], 3, lambda *found: differing.append(found))
    assert row.peers == {}
    ((case, name, error),) = differing
    assert (case.name, name) == ("identity", "numpy") and "Not equal to tolerance" in str(error)


def test_what_a_peer_leaves_as_it_was_is_no_result(monkeypatch):
    """Both sides write one array: ours must not pass for theirs."""
    monkeypatch.setitem(bench.peer("numpy").FORWARD, "identity", lambda x, out: None)
    differing = []
    (row,) = bench.rows(bench.CASES["identity"], [64], ["numpy"], 3, lambda *found: differing.append(found))
    assert row.peers == {} and len(differing) == 1


@pytest.mark.parametrize("theirs, same", [(1.0, True), (1.1, False), (np.nan, False)])
def test_results_are_compared(theirs, same):
    ours = np.array([0.0, 1.0, np.inf, np.nan], np.float32)
    found = np.where(ours == 1.0, np.float32(theirs), ours)
    for given in (ours, ours[:2]):
        work = Work(None, [], given, 0, given.size)
        if same:
            work.compare(found[: given.size])
        else:
            with pytest.raises(AssertionError):
                work.compare(found[: given.size])


@pytest.mark.parametrize("noise, expected", [(0.001, timing.FEWEST), (0.5, 31)], ids=["steady", "noisy"])
def test_turns_end_when_the_ratios_are_settled(monkeypatch, noise, expected):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(timing, "_rests", lambda sides: dict.fromkeys(sides, False))
    monkeypatch.setattr(timing, "call_for", lambda seconds, side: side() * (1 + noise * rng.random()))
    times, rates = timing.turns({"": lambda: 1.0, "copy": lambda: 2.0, "numpy": lambda: 3.0}, 31, lambda: "rates")
    assert {name: len(found) for name, found in times.items()} == {"": expected, "copy": expected, "numpy": expected}
    assert rates == ["rates"] * expected and times["numpy"].min() >= 3.0
    monkeypatch.setattr(timing, "LONGEST", 0.0)
    assert len(timing.turns({"": lambda: 1.0}, 31)[0][""]) == timing.FEWEST


@pytest.mark.skipif(sys.platform != "linux", reason="threads' clocks are those of Linux")
def test_a_side_rests_behind_one_with_other_threads():
    def here():
        sum(range(1000))

    with ThreadPoolExecutor(1) as pool:
        sides = {"": here, "copy": here, "other": lambda: pool.submit(sum, range(30_000)).result()}
        assert timing._rests(sides) == {"": True, "copy": False, "other": True}
    sides.pop("other")
    assert timing._rests(sides) == {"": False, "copy": False}


def test_parts_follow_from_two_sizes():
    """A call of 3 s and 2 s an element on one thread; 1 s for starting both; a copy of 50 s, 4 of which are its own call."""
    made = bench.CASES["identity"]
    found = parts.Parts(made, Work(None, [], None, 0, 100_000), 2)
    few, more = made.counts
    alone = {"few": 3 + 2 * few, "more": 3 + 2 * more, "identity": 4, "one": 0.5, "all": 1.5}
    slower = {name: 2 * seconds for name, seconds in alone.items()}
    expected = {"call": 4, "loop": 100_000, "memory": 45}
    assert found.seconds([alone, slower, alone], 50) == pytest.approx(expected)
    expected.pop("memory")
    assert found.seconds([alone]) == pytest.approx(expected)
    assert parts.Parts(made, Work(None, [], None, 0, 64), 2).seconds([alone])["loop"] == pytest.approx(128)
    assert set(found()) == set(alone)


def test_few_elements_are_prepared_as_many_are():
    """Of each group a case: as many elements as asked for, and the same function's result on what is given."""
    for name in (
        "exp",
        "identity",
        "glu",
        "softmax",
        "mse",
        "cross_entropy",
        "dropout",
        "layer_norm",
        "group_norm",
        "sgd",
    ):
        case = bench.CASES[name]
        assert [case.few(n, np.float32).elements for n in case.counts] == list(case.counts)
    for name, case in bench.CASES.items():
        few, more = case.counts
        assert few < more < pool.PARALLEL_FROM, name
    assert bench.CASES["matmul"].few is bench.CASES["start.import"].few is bench.CASES["softmax.axis0"].few is None


def test_kernels_run_serially_inside():
    pool.ensure_started()
    before = pool.started()
    with pool.serially():
        assert not pool.started()
    assert pool.started() == before


def test_divisions_and_roots_share_a_unit():
    each = {"multiply": 1.0, "any": 0.5, "divide": 3.0, "root": 4.0}
    assert floors.least_seconds({"multiply": 2, "any": 8, "divide": 1, "root": 0}, each) == 4
    assert floors.least_seconds({"multiply": 2, "any": 8, "divide": 1, "root": 1}, each) == 7


LOOP = """
.LBB0_1:
	vmovups	(%rdi,%rax,4), %zmm0
	vmulps	%zmm1, %zmm0, %zmm2
	vfmadd213ps	%zmm1, %zmm2, %zmm0 # a comment
	vdivps	%zmm0, %zmm2, %zmm0
	vmovaps	%zmm9, 64(%rsp)
	vmovups	%zmm0, (%rsi,%rax,4)
	addq	$16, %rax
	cmpq	%rax, %rcx
	jne	.LBB0_1
.LBB0_2:
	vmulps	%xmm1, %xmm0, %xmm2
	vmovups	%xmm2, (%rsi,%rax,4)
	callq	*%rax
	jne	.LBB0_2
.LBB0_3:
	vaddps	%zmm1, %zmm0, %zmm2
	jne	.LBB0_3
"""


def test_counted_operations_are_kept_beside_the_kernels(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr("numbadl.kernels.cpu.compile.cache_folder", lambda: tmp_path)
    compiled = []
    monkeypatch.setattr(assembly, "assembly", lambda *given: compiled.append(given) or LOOP)
    relu, silu = (nd.kernels.catalog.catalog()[name] for name in ("relu", "silu"))
    for _ in range(2):
        assert assembly.counted(relu) == {"multiply": 2, "any": 3, "divide": 1, "root": 0}
    assert len(compiled) == 1
    assembly.counted(silu)
    (path,) = tmp_path.glob("relu-*.operations")
    path.write_text(path.read_text().replace('"follows": ["', '"follows": ["0'))
    assembly.counted(relu)
    assert len(compiled) == 3


def test_operations_are_counted_in_the_loop_that_stores():
    assert operations(LOOP, 1, 4) == {"multiply": 2, "any": 3, "divide": 1, "root": 0}
    assert operations(LOOP, 2, 4)["any"] == 6  # half as many elements in each turn
    assert operations("", 1, 4) is None


# -- table ---------------------------------------------------------------------------------------------------------
def test_columns_of_header_and_rows_end_at_the_same_places():
    header, line = table.header(["numpy", "torch"]), table.line(made_up(peers={}), ["numpy", "torch"])
    assert header.index("+-") + 2 == line.index("10%") + 3 and "50%      memory" in line
    both = {name: {"seconds": 1, "ratio": 1.25, "spread": 0.5} for name in ("numpy", "torch")}
    line = table.line(made_up(peers=both), ["numpy", "torch"])
    assert len(line) == len(header) and line.endswith("1.25   50%          1.25   50%")
    bare = table.line(made_up(floor=None, share=None, bound=None), ["numpy"])
    assert bare.endswith("2.00   10%") and "memory" not in bare


def test_the_summary_names_what_is_slow_and_what_is_far_from_the_floor():
    rows = [
        made_up("relu", ratio=0.5, share=0.9),
        made_up("silu", ratio=2.0, share=0.79),
        made_up("elu", ratio=1.0, share=None),
    ]
    assert table.summary(rows) == [
        "numpy, 64 elements: geometric mean of 3 ratios 1.00",
        "below 1.0 x: 1", "  relu at 64 0.50 (numpy)",
        "below 80% of the floor: 1", "  silu at 64 79%",
    ]  # fmt: skip
    parts = {"call": 1e-7, "loop": 5e-7, "memory": 2e-7}
    assert (
        table.summary([made_up(share=0.7, parts=parts)])[-1]
        == "  silu at 64 70% (call 10, loop 50, memory 20, rest 40)"
    )
    assert table.summary([made_up(share=0.8)]) == ["below 1.0 x: none", "below 80% of the floor: none"]


def test_a_noisy_machine_is_named():
    assert table.noise([made_up(spread=0.1)]) is None
    assert "30%" in table.noise([made_up(spread=0.1), made_up(spread=0.3), made_up(spread=0.5)])


def test_a_roofline_is_a_png(tmp_path):
    pytest.importorskip("matplotlib")
    roofline.draw([made_up(), made_up("relu", 128), made_up("mse", operations=0)], tmp_path / "roof.png")
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")
    places, rates = roofline._roof([made_up(), made_up(bound="arithmetic", operations=10240, floor=1e-6)], [0.1, 50])
    assert places == pytest.approx([0.1, 10, 50]) and rates == pytest.approx([1.024e8, 1.024e10, 1.024e10])
    with pytest.raises(ValueError, match="--plot: no row has its operations counted"):
        roofline.draw([made_up(operations=0)], tmp_path / "none.png")


TEMPLATE = """\
Before.

{{why gelu *.backward}}
because it was
measured

{{rest gelu elu}}
these do
something

{{table activations}}

After.
"""


def test_the_page_gives_the_template_s_reasons_for_slow_rows():
    def page(**ratios):
        rows = [vars(made_up(name.replace("_of_", "."), ratio=ratio, share=None)) for name, ratio in ratios.items()]
        text = benchmarks_page.written(TEMPLATE, {"rows": rows})
        return text[text.index("Below 1.0") : text.index("\n\nBelow 80%")]  # without shares, that is empty

    assert page(gelu=1.0) == "Below 1.0: none."
    assert page(gelu=0.95) == "Below 1.0: `gelu` 0.95 (NumPy)."
    because = "- `gelu` 0.89 (NumPy), `relu.backward` 0.50 (NumPy): because it was measured"
    assert page(gelu=0.89, relu_of_backward=0.5) == f"Below 1.0:\n\n{because}"
    unexplained = "Below 1.0: `elu` 0.95 (NumPy), and\n\n- `relu` 0.50 (NumPy): not explained yet."
    assert page(relu=0.5, elu=0.95) == unexplained
    assert "{{" not in benchmarks_page.written(TEMPLATE, {"rows": []})


def test_the_page_gives_parts_and_reasons_for_what_they_leave():
    def page(*rows):
        text = benchmarks_page.written(TEMPLATE, {"rows": [vars(row) for row in rows]})
        cells = [line.split(" | ")[-1].rstrip(" |") for line in text.splitlines() if line.startswith("| `")]
        return cells, text[text.index("Below 80%") : text.index("\n\nAfter")]

    explained = {"call": 1e-7, "loop": 8e-7, "memory": 2e-7}
    left = {"call": 1e-7, "loop": 4e-7, "memory": 5e-7}
    assert page(made_up(share=0.9, parts=left)) == (["90% m"], "Below 80% of the floor: none.")
    cells, below = page(made_up(parts=explained))
    assert cells == ["50% m: call 10, loop 80, memory 20, rest 10"] and below == "Below 80% of the floor: 1."
    cells, below = page(
        made_up(parts=left), made_up("gelu", parts=left), made_up("elu", share=0.45), made_up("relu", 128)
    )
    assert cells[:3] == ["50% m: call 10, loop 40, memory 50, rest 40"] * 2 + ["45% m"]
    head, *reasons = below.split("\n- ")
    assert head.startswith("Below 80% of the floor: 4; of 4, ") and head.endswith("or were not measured:\n")
    in_turn = "call, loop and memory one after the other take about as long: loop and memory hardly overlap."
    assert [" ".join(reason.split()) for reason in reasons] == [
        f"`silu` 40%: {in_turn}", "`gelu` 40%, `elu` 55%: these do something", "`relu` 50%: not explained yet.",
    ]  # fmt: skip


def test_records_without_parts_are_read(tmp_path):
    """Those of an earlier version."""
    row = vars(made_up()) | {"date": "2026-01-01"}
    row.pop("parts")
    path = tmp_path / "speed.json"
    record.write(path, {"machine": {}, "versions": {}, "rows": [row]})
    assert record.read(path)["rows"] == [row]
    (line,) = [
        line for line in benchmarks_page.written(TEMPLATE, {"rows": [row]}).splitlines() if line.startswith("| `")
    ]
    assert line.endswith("| 50% m |")


# -- recorded runs -------------------------------------------------------------------------------------------------
def test_rows_machine_versions_and_date_are_kept(tmp_path, capsys, measured):
    path = tmp_path / "new" / "speed.json"
    assert cli.main(["bench", "silu", "silu.backward", "--size", "64,1024", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert found == record.read(path)
    assert [(row["name"], row["elements"], row["peers"]["numpy"]["ratio"]) for row in found["rows"]] == [
        ("silu", 64, 2.0), ("silu", 1024, 2.0), ("silu.backward", 64, 2.0), ("silu.backward", 1024, 2.0),
    ]  # fmt: skip
    assert found["machine"]["threads"] == bench.threads() and found["machine"]["cores"] >= 1
    assert found["versions"]["NumPy"] == np.__version__ and found["versions"]["numbadl"] == nd.__version__
    assert date.fromisoformat(found["rows"][0]["date"]) <= date.today()
    assert "silu.backward" in capsys.readouterr().out


def test_a_run_in_parts_makes_one_file(tmp_path, measured):
    path = tmp_path / "speed.json"
    for names, ratio in ((["silu", "relu"], 2.0), (["relu", "elu"], 3.0)):
        measured |= dict.fromkeys(names, ratio)
        assert cli.main(["bench", *names, "--size", "64", "--json", str(path)]) == 0
    assert [(r["name"], r["peers"]["numpy"]["ratio"]) for r in record.read(path)["rows"]] == [
        ("silu", 2.0), ("relu", 3.0), ("elu", 3.0),
    ]  # fmt: skip


def test_peers_of_earlier_runs_stay_and_other_machines_are_refused():
    around = {"machine": {"cores": 2}, "versions": {"numba": "1", "NumPy": "2"}}
    before = record.merged(None, around, [made_up()])
    torch = {"torch": {"seconds": 1e-6, "ratio": 1.0, "spread": 0.0}}
    later = {"machine": {"cores": 2}, "versions": {"numba": "1", "PyTorch": "3"}}
    found = record.merged(before, later, [made_up(peers=torch)])
    assert found["rows"][0]["peers"] == {**made_up().peers, **torch}
    assert found["versions"] == {"numba": "1", "NumPy": "2", "PyTorch": "3"}
    for other in ({**around, "machine": {"cores": 4}}, {**around, "versions": {"numba": "2"}}):
        with pytest.raises(
            ValueError, match=r"recorded with (cores 2 \(now 4\)|numba 1 \(now 2\)): choose another file"
        ):
            record.merged(before, other, [])


def test_files_that_cannot_be_used_are_named_before_measuring(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "rows", None)
    (tmp_path / "file").write_text("{}")
    assert cli.main(["bench", "silu", "--json", str(tmp_path / "file" / "speed.json")]) == 2
    assert "is a file; a folder is expected" in capsys.readouterr().err
    for option in ("--json", "--check"):
        assert cli.main(["bench", "silu", option, str(tmp_path / "file")]) == 2
        assert "not a recorded run of `numbadl bench --json`" in capsys.readouterr().err
    assert cli.main(["bench", "silu", "--check", str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert cli.main(["bench", "silu", "--plot", str(tmp_path / "roof.gif")]) == 2
    assert "accepted are files that end with .png or .svg" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["bench", "silu", "--plot", str(tmp_path / "roof.png")]) == 2
    assert "--plot: pictures need matplotlib" in capsys.readouterr().err


def test_sizes(capsys):
    assert _sizes("65536,64K, 2m") == [1 << 16, 1 << 16, 1 << 21]
    for wrong in ("", "K", "0", "0M", "64KM", "1e3", "-1", "64K,"):
        assert cli.main(["bench", "silu", f"--size={wrong}"]) == 2
        assert f"--size: got {wrong!r}, accepted are whole numbers of elements" in capsys.readouterr().err


@pytest.mark.parametrize("now, names", [(0.86, []), (0.84, ["silu"]), (1.5, [])], ids=["within 15 %", "fell", "rose"])
def test_what_fell_is_named(now, names):
    recorded = {"rows": [vars(made_up()), vars(made_up("mse", peers={}))]}
    fell = record.fallen(
        recorded, [made_up(ratio=2.0 * now), made_up("new", ratio=0.1), made_up(elements=65, ratio=0.1)]
    )
    assert [name for name, *_ in fell] == names
    assert record.fallen(recorded, [made_up("mse", share=0.42)]) == [("mse", 64, "floor", 0.5, 0.42)]
    assert record.fallen(recorded, [made_up("mse", share=0.43)]) == []


def test_check_measures_again_before_it_fails(tmp_path, capsys, measured, monkeypatch):
    path, options = tmp_path / "speed.json", ["bench", "silu", "relu", "--size", "64"]
    assert cli.main([*options, "--json", str(path)]) == 0
    assert cli.main([*options, "--check", str(path)]) == 0
    assert "nothing fell" in capsys.readouterr().out
    measured["silu"] = 1.0
    assert cli.main([*options, "--check", str(path)]) == 1
    assert "fell: silu at 64 beside numpy: 1.00, recorded 2.00" in capsys.readouterr().out
    ratios = iter([1.0, 1.0, 1.9])  # slow twice, by chance
    monkeypatch.setattr(bench, "rows", lambda case, *_: [made_up("silu", 64, next(ratios))])
    assert cli.main(["bench", "silu", "--size", "64", "--check", str(path)]) == 0


def test_unknown_peers_are_refused(capsys):
    assert cli.main(["bench", "silu", "--peers", "numpy,tensorflow"]) == 2
    assert (
        "--peers: got 'tensorflow', accepted are numpy, torch, compile, jax, sklearn, keras" in capsys.readouterr().err
    )


def test_elementary_functions_count_their_operations():
    counted = elementwise.per_element(nd.kernels.catalog.catalog()["relu"], 4)
    assert counted == {} or (counted["any"] >= 1 and counted["divide"] == 0 and math.isfinite(counted["any"]))
