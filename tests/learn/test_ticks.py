"""Files of ticks, causal features, labels and splits."""

import gzip
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
import series

from cerebellum.errors import UsageError
from cerebellum.learn import features
from cerebellum.learn.tasks import csv, ticks

pytestmark = pytest.mark.usefixtures("broadcasting")

HEADER = "timestamp,price,volume\n"
GOOD = "".join(f"{1_700_000_000_000 + k},{100 + k % 3},1\n" for k in range(400))


def rows(path, **options) -> int:
    return sum(len(block["price"]) for block in csv.read(path, **options))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (HEADER, "no rows"),
        ("a,b\n1,2\n", "no column for timestamp and price"),
        (HEADER + GOOD + "1699999999999,100,1\n", "402: timestamp: .* time must not run backwards"),
        (HEADER + "1700000000000,2,x\n" * 3, "3 of 3 rows cannot be read.*x.csv:2: volume: 'x'"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        rows(path)
    assert str(error.value).count("\n") == 0
    assert str(path) in str(error.value)


@pytest.mark.parametrize("row", ["1,2", "x,2,1", "1,nan,1", "1,inf,1", "1,-2,1", "1,0,1", "1,2,-1"])
def test_a_bad_row_is_counted_and_left_out(tmp_path, row):
    path, bad = tmp_path / "x.csv", csv.Bad()
    time, _, rest = row.partition(",")
    stamp = "1700000000500" if time == "1" else time
    path.write_text(HEADER + GOOD + f"{stamp},{rest}\n")
    assert rows(path, bad=bad) == 400
    assert (bad.rows, bad.of) == (1, 401)
    assert f"{path}:402: " in bad.first[0]


def test_columns_by_other_names(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("Time,Bid,Ask,qty,Side,more\n2024-01-01T00:00:00.500Z,1,3,5,SELL,x\n")
    (block,) = csv.read(path)
    assert block["price"] == 2
    assert block["volume"] == 5
    assert block["side"] == -1
    assert block["timestamp"] == 1_704_067_200_500
    with pytest.raises(UsageError, match="no column 'nope'"):
        rows(path, columns={"price": "nope"})
    (block,) = csv.read(path, columns={"price": "Ask"})
    assert block["price"] == 3


@pytest.mark.parametrize("unit", [1e-3, 1, 1e3, 1e6])
def test_units_of_time(tmp_path, unit):
    path = tmp_path / "x.csv"
    path.write_text(f"ts,price\n{round(1_700_000_000_000 * unit)},1\n")
    (block,) = csv.read(path)
    assert block["timestamp"][0] == 1_700_000_000_000


def test_compressed_and_cut_short(tmp_path):
    path = tmp_path / "x.csv.gz"
    data = gzip.compress((HEADER + GOOD).encode())
    path.write_bytes(data)
    assert rows(path) == 400
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match="not a whole gzip file"):
        rows(path)


def test_files_of_a_folder_in_order(tmp_path):
    moves = series.steps(900, 0.7, 0)
    whole = series.write(tmp_path / "whole.csv", moves)
    lines = whole.read_text().splitlines(keepends=True)
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "b.csv").write_text(lines[0] + "".join(lines[400:]))
    (folder / "a.csv").write_text("".join(lines[:400]))
    of_file, of_folder = ticks.load(whole), ticks.load(folder)
    jax.tree.map(np.testing.assert_array_equal, of_file.ticks, of_folder.ticks)
    (folder / "a.csv").rename(folder / "c.csv")
    with pytest.raises(UsageError, match="in order of time"):
        ticks.load(folder)
    with pytest.raises(UsageError, match="no CSV file"):
        ticks.load(tmp_path / "none*")


def test_features_do_not_look_ahead(tmp_path):
    stream = ticks.load(series.write(tmp_path / "x.csv", series.steps(600, 0.7, 0)))
    fields = features.Fields(quote=True, sizes=True, side=True, calendar=True)
    _, values = features.run(features.init(), stream.ticks, fields)
    assert values.shape == (600, len(fields.names))
    assert np.isfinite(values).all()
    changed = jax.tree.map(lambda x: np.where(np.arange(600) < 300, x, x[::-1] * 3), stream.ticks)
    _, other = features.run(features.init(), changed, fields)
    np.testing.assert_array_equal(values[:300], other[:300])
    assert not np.array_equal(values[300:], other[300:])


def test_features_in_chunks(tmp_path):
    stream = ticks.load(series.write(tmp_path / "x.csv", series.steps(500, 0.7, 0)))
    _, whole = features.run(features.init(), stream.ticks, stream.fields)
    state, chunks = features.init(), []
    for start, stop in ((0, 120), (120, 121), (121, 500)):
        chunk = jax.tree.map(lambda x, a=start, b=stop: x[a:b], stream.ticks)
        state, values = features.run(state, chunk, stream.fields)
        chunks.append(values)
    np.testing.assert_array_equal(whole, np.concatenate(chunks))


def test_a_label_belongs_to_the_split_in_which_it_is_known(tmp_path):
    stream = ticks.load(series.write(tmp_path / "x.csv", series.steps(1_000, 0.7, 0)))
    for task in ticks.TASKS:
        data = ticks.prepare(stream, task)
        for split in (data.train, data.validation, data.test):
            questions = data.asked(split)
            assert questions.min() >= split.start
            assert data.known[questions].max() < split.stop
    assert data.asked(data.train).max() == 700 - 11
    move = stream.price[500 + 10] - stream.price[500]
    expected = ticks.BUY if move > data.band else ticks.SELL if move < -data.band else ticks.HOLD
    assert data.labels[500] == expected


def test_what_is_fitted_does_not_depend_on_the_later_splits(tmp_path):
    path = series.write(tmp_path / "x.csv", series.steps(1_000, 0.7, 0))
    stream = ticks.load(path)
    data = ticks.prepare(stream, "h10")
    later = replace(stream, price=np.where(np.arange(1_000) < 700, stream.price, 500.0))
    other = ticks.prepare(replace(later, price=later.price + np.arange(1_000) % 7), "h10")
    np.testing.assert_array_equal(data.receptive.knots, other.receptive.knots)


def test_the_reference_files_have_the_samples_of_their_baselines(shared):
    counts = {}
    for name in ("eurusd_quotes", "btcusdt_spot_quotes", "btcusdt_spot_trades"):
        stream = ticks.load(shared / f"{name}.csv.gz")
        for task in ticks.TASKS:
            labels, known, _ = ticks.label(stream.price, task, int(0.7 * len(stream.price)))
            test = np.arange(int(0.9 * len(labels)), len(labels))
            counts[name, task] = int(((labels[test] >= 0) & (known[test] < len(labels))).sum())
    assert list(counts.values()) == [22_239, 25_624, 495, 7_308, 597, 1_981]


def test_a_large_file_streams(tmp_path):
    """A short form of a file of a gigabyte: the reader needs the memory of a block."""
    code = """
import resource, sys
from pathlib import Path
from cerebellum.learn.tasks import csv
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(len(block["price"]) for block in csv.read(Path(sys.argv[1])))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    path = tmp_path / "x.csv"
    with path.open("w") as file:
        file.write(HEADER)
        for start in range(0, 4_000_000, 100_000):
            numbers = range(start, start + 100_000)
            lines = (f"{1_700_000_000_000 + k},{100 + k % 7}.5,1.25\n" for k in numbers)
            file.writelines(lines)
    process = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    count, memory_kib = map(int, process.stdout.split())
    assert count == 4_000_000
    assert path.stat().st_size > 90e6
    assert memory_kib * 1024 < 400e6


@pytest.mark.parametrize("task", ticks.TASKS)
def test_few_ticks_are_refused_in_a_line(tmp_path, task):
    path = tmp_path / "x.csv"
    for count in (1, 2, 10, 11, 12):
        path.write_text(HEADER + "".join(GOOD.splitlines(keepends=True)[:count]))
        with pytest.raises(UsageError, match=rf"--data: {count} ticks; "):
            ticks.prepare(ticks.load(path), task)
