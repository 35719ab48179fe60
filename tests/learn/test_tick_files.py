"""Files of ticks as exporters write them: each is read right, or refused in a line."""

import csv as writer
import gzip
import io
import os
import re
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cerebellum.errors import UsageError
from cerebellum.learn.tasks import csv, header, lines, ticks

START = 1_700_000_000_000
HEADER = "timestamp,price,volume\n"
DAY = datetime(2024, 1, 13, 11, 59, 58, 250_000)
DAY_MS = 1_705_147_198_250


def row(k: int) -> str:
    return f"{START + 250 * k},{100 + k % 7},1"


def table(changes: dict[int, str] | None = None, count: int = 300) -> str:
    """A file whose rows k (in line k + 2) are as they should be, except some."""
    return HEADER + "".join((changes or {}).get(k, row(k)) + "\n" for k in range(count))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def columns(path: Path, **options) -> dict[str, np.ndarray]:
    blocks = list(csv.read(path, **options))
    return {kind: np.concatenate([block[kind] for block in blocks]) for kind in blocks[0]}


def refusal(path: Path) -> str:
    """The message in which a file is refused, which is one line and names the file."""
    with pytest.raises(UsageError) as error:
        ticks.load(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert ";" in message
    return message.removeprefix(str(path)).lstrip(": ")


# --- timestamps -----------------------------------------------------------------------------------

FORMATS = {
    "s": lambda t: f"{t / 1e3:.3f}",
    "ms": lambda t: f"{t}",
    "us": lambda t: f"{t * 1000}",
    "ns": lambda t: f"{t * 1_000_000}",
    "iso": lambda t: f"{moment(t):%Y-%m-%dT%H:%M:%S.%f}",
    "iso Z": lambda t: f"{moment(t):%Y-%m-%d %H:%M:%S.%f}Z",
    "iso offset": lambda t: f"{moment(t + 19_800_000):%Y-%m-%dT%H:%M:%S.%f}+05:30",
    "iso nanoseconds": lambda t: f"{moment(t):%Y-%m-%dT%H:%M:%S.%f}000-0000",
    "slashes, year first": lambda t: f"{moment(t):%Y/%m/%d %H:%M:%S.%f}",
    "MetaTrader": lambda t: f"{moment(t):%Y.%m.%d %H:%M:%S.%f}",
    "compact": lambda t: f"{moment(t):%Y%m%d%H%M%S}{t % 1000:03d}",
    "histdata": lambda t: f"{moment(t):%Y%m%d %H%M%S}{t % 1000:03d}",
    "FIX": lambda t: f"{moment(t):%Y%m%d-%H:%M:%S.%f}",
    "Dukascopy": lambda t: f"{moment(t + 7_200_000):%d.%m.%Y %H:%M:%S.%f} GMT+0200",
    "US": lambda t: f"{moment(t):%m/%d/%Y %H:%M:%S.%f}",
    "US, twelve hours": lambda t: f'"{moment(t):%m/%d/%Y, %I:%M:%S.%f %p}"',
    "British": lambda t: f"{moment(t):%d/%m/%Y %H:%M:%S.%f}",
    "dashes, day first": lambda t: f"{moment(t):%d-%m-%Y %H:%M:%S.%f}",
    "comma before ms": lambda t: f'"{moment(t):%Y-%m-%d %H:%M:%S},{t % 1000:03d}"',
}
"""Texts of times in ms."""


def moment(ms: float) -> datetime:
    return datetime(1970, 1, 1) + timedelta(milliseconds=ms)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("start", [DAY_MS, 1_709_164_799_750])  # before noon; before a 29 February
def test_formats_of_time(tmp_path, name, start):
    times = start + 250 * np.arange(40)
    body = "".join(f"{FORMATS[name](t)},100,1\n" for t in times.tolist())
    read = columns(write(tmp_path / "x.csv", HEADER + body))["timestamp"]
    np.testing.assert_array_equal(read, times)


@pytest.mark.parametrize(
    ("date", "time"),
    [("%Y%m%d", "%H%M%S"), ("%Y-%m-%d", "%H:%M:%S"), ("%d.%m.%Y", "%H:%M:%S"),
     ("%m/%d/%Y", "%I:%M:%S %p")],
)  # fmt: skip
def test_date_and_time_columns(tmp_path, date, time):
    moments = [DAY.replace(microsecond=0) + timedelta(seconds=k) for k in range(40)]
    body = "".join(f"{each:{date}},{each:{time}},100\n" for each in moments)
    read = columns(write(tmp_path / "x.csv", "Date,Time,Price\n" + body))["timestamp"]
    np.testing.assert_array_equal(read, DAY_MS - 250 + 1000 * np.arange(40))


def test_a_date_beside_a_whole_timestamp(tmp_path):
    path = write(tmp_path / "x.csv", f"date,time,price\n20240113,{START},1\n20240113,{START},1\n")
    np.testing.assert_array_equal(columns(path)["timestamp"], [START, START])


def test_the_whole_file_decides_which_is_the_day(tmp_path, monkeypatch):
    """Also where only its last row does, in another block than the first."""
    monkeypatch.setattr(lines, "BLOCK", 256)
    days = [datetime(2024, 1, 12) + timedelta(minutes=10 * k) for k in range(200)]
    for form in ("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"):
        body = "".join(f"{each:{form}},100,1\n" for each in days)
        read = columns(write(tmp_path / "x.csv", HEADER + body))["timestamp"]
        np.testing.assert_array_equal(np.diff(read), 600_000)
    body = "".join(f"{each:%m/%d/%Y},100,1\n" for each in days[:100])
    message = refusal(write(tmp_path / "x.csv", HEADER + body))
    assert message.startswith("2: '01/12/2024'")
    assert "day/month or month/day" in message
    message = refusal(write(tmp_path / "x.csv", HEADER + body + "13/01/2024,1,1\n01/13/2024,1,1\n"))
    assert "'13/01/2024' is day/month" in message
    assert "'01/13/2024' month/day" in message


@pytest.mark.parametrize(
    "value",
    ["45293.4", "1.7E+12", "02/01/24 10:00:00", "10:00:00", "2-Jan-2024", "20240113 90000",
     "2101-01-01", "1979-12-31T23:59:59", "1", "x", "", "31/31/2024", "2024-01-13 10:00 EST"],
)  # fmt: skip
def test_no_known_format(tmp_path, value):
    message = refusal(write(tmp_path / "x.csv", HEADER + f"{value},100,1\n" * 40))
    assert message.startswith("2: ")
    assert repr(value) in message
    assert "from 1980 to 2099" in message


@pytest.mark.parametrize(
    ("good", "bad"),
    [("ms", "us"), ("us", "ms"), ("s", "compact"), ("iso", "iso Z"), ("iso Z", "iso"),
     ("Dukascopy", "iso"), ("compact", "ms")],
)  # fmt: skip
def test_one_format_a_file(tmp_path, good, bad):
    """Rows of another are left out and named, or, where they are many, the file is refused."""
    texts = [FORMATS[good](DAY_MS + 250 * k) for k in range(400)]
    texts[150] = FORMATS[bad](DAY_MS + 250 * 150)
    left_out = csv.Bad()
    path = write(tmp_path / "x.csv", HEADER + "".join(f"{each},100,1\n" for each in texts))
    read = columns(path, bad=left_out)["timestamp"]
    np.testing.assert_array_equal(read, np.delete(DAY_MS + 250 * np.arange(400), 150))
    assert (left_out.rows, left_out.of) == (1, 400)
    assert f":152: timestamp: {texts[150]!r}; " in left_out.first[0]
    texts[250:] = [FORMATS[bad](DAY_MS + 250 * k) for k in range(250, 400)]
    write(path, HEADER + "".join(f"{each},100,1\n" for each in texts))
    assert refusal(path).startswith("151 of 400 rows cannot be read")


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept", "message"),
    [
        (table() + f"{START + 75_000},10", 300, ":302: 2 fields, header 3"),
        (table({100: '1,"'}), 299, ":102: a quote that does not end"),
        (table({100: f'{START + 25_000},100,"1"x'}), 299, ":102: a quote within a field"),
        (table({100: HEADER.strip()}), 299, ":102: timestamp: 'timestamp'; ms since 1970"),
        (table() + "Rows: 300\n", 300, ":302: 1 field, header 3"),
        (table() + ",,\n", 300, ":302: timestamp: empty; ms"),
        (table() + "\x1a", 300, ":302: 1 field, header 3"),
        (table({100: f"{START + 25_000},1,100,1"}), 299, ":102: 4 fields, header 3"),
        (table({100: f"{START + 25_000},100,1e39"}), 299, ":102: volume: '1e39'; a number from 0"),
        (table({100: f"{START + 25_000},1e-40,1"}), 299, ":102: price: '1e-40'; a number above 0"),
        (table({100: f"{START + 25_000},$100,1"}), 299, ":102: price: '$100'; a number above 0"),
        (table({100: f"{START + 25_000},10100,1"}), 299, ":102: price: 10100; within a factor"),
        (table({0: f"{START},1,1"}), 299, ":2: price: 1; within a factor of 10"),
        (table({299: f"{START + 74_750},1,1"}), 299, ":301: price: 1; within a factor of 10"),
        (table({100: "x" * 200_000}), 299, ":102: a field of more than"),
        (table({5: "\n".join(['1,"a', "b", 'c"']), 100: "x"}), 298, ":7: 2 fields, header 3"),
    ],
)
def test_what_is_left_out_is_named(tmp_path, text, kept, message):
    path, bad = write(tmp_path / "x.csv", text), csv.Bad()
    assert len(columns(path, bad=bad)["price"]) == kept
    assert bad.of - bad.rows == kept
    assert bad.first[0].startswith(f"{path}{message}")


def test_a_lone_price_at_the_border_of_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "BLOCK", 256)
    for wrong in range(90, 110):
        text = table({wrong: f"{START + 250 * wrong},1,1"})
        bad = csv.Bad()
        prices = columns(write(tmp_path / "x.csv", text), bad=bad)["price"]
        assert (prices.min(), len(prices), bad.rows) == (100, 299, 1)


@pytest.mark.parametrize(
    "text",
    [
        table() + "\n \n",
        table().replace("\n", "\n\n"),
        "\ufeff" + table().replace("\n", "\r\n"),
        table().replace(",", ";"),
        table().replace(",", "\t"),
        table().replace("volume", "volume,"),
        table().replace("\n", ",\n"),
        table().replace("timestamp,price", '"timestamp", "price" ').replace(",1\n", ',"1"\n'),
        table().replace("volume", "volume,note").replace(",1\n", ',1,5" x\n'),
        table().replace("volume", "volume,note").replace(",1\n", ',1,"a ""b"", c"\n'),
        table().replace("volume", "volume,note").replace(",1\n", ',1,"a\nb, c"\n'),
        table().replace("timestamp,", "<Time>,"),
        gzip.compress(table()[:2_000].encode()) + gzip.compress(table()[2_000:].encode()),
    ],
)
def test_as_exporters_write_it(tmp_path, text):
    if isinstance(text, str):
        text = text.replace('"timestamp", "price" ', '"timestamp","price"')
    bad = csv.Bad()
    read = columns(write(tmp_path / "x.csv", text), bad=bad)
    np.testing.assert_array_equal(read["timestamp"], START + 250 * np.arange(300))
    np.testing.assert_array_equal(read["price"], 100 + np.arange(300) % 7)
    np.testing.assert_array_equal(read["volume"], 1)
    assert (bad.rows, bad.of) == (0, 300)


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as pack:
        pack.writestr("x.csv", table())
    return file.getvalue()


def flipped() -> bytes:
    data = bytearray(gzip.compress(table().encode()))
    data[len(data) // 2] ^= 255
    return bytes(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table().replace(",10", ",67,10"), "300 of 300 rows.*x.csv:2: 4 fields, header 3"),
        (table().replace(",10", ";10").replace(",", ";").replace(";1\n", ",5;1\n"), "2: price: '"),
        (table().replace("1\n", "1,\n"), "4 fields, header 3"),
        (table().encode("utf-16"), "UTF-16; CSV in UTF-8"),
        (table().encode("utf-16-le"), "1: NUL bytes"),
        (table().replace("\n", "\r"), "1: lines end in CR alone"),
        ("\n" + table(), "line 1 is blank"),
        (table().removeprefix(HEADER), "1: no column for timestamp and price.*it has 17000"),
        (table().replace("volume", "price"), "1: two columns 'price'; one for the price"),
        (table().replace("price", '"price'), "1: timestamp,.*; names of columns, quotes in pairs"),
        (table().replace("volume", "side").replace(",1\n", ",A\n"), "2: side: 'A'; buy, b, 1"),
        ("timestamp,bid,ask\n" + f"{START},2,1\n", "2: ask: '1'; at or above the bid"),
        (table({0: "x" * (2**20 + 9)}, 1), "2: longer than 1048576 bytes|1 of 1 rows"),
        (archive(), "a zip archive; CSV in UTF-8"),
        (flipped(), "not a whole gzip file"),
        (gzip.compress(table().encode()) + b"more", "not a whole gzip file"),
        (gzip.compress(table().encode())[:-9], "not a whole gzip file"),
    ],
)
def test_refused_in_a_line(tmp_path, text, message):
    assert re.search(message, refusal(write(tmp_path / "x.csv", text)))


def test_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in refusal(tmp_path / "pipe.csv")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.csv").mkdir()
    with pytest.raises(UsageError, match=r"x\.csv: not a regular file"):
        ticks.load(tmp_path / "folder")


def test_files_of_a_folder_have_the_same_columns(tmp_path):
    write(tmp_path / "a.csv", table())
    other = write(tmp_path / "b.csv", table().replace("volume", "vol"))
    with pytest.raises(UsageError, match=r"b.csv:1: no column for volume, other than .*a.csv"):
        ticks.load(tmp_path)
    write(other, table().replace("volume", "volume,side").replace(",1\n", ",1,buy\n"))
    with pytest.raises(UsageError, match=r"b.csv:1: a column for side, other than .*a.csv"):
        ticks.load(tmp_path)


# --- what a wrong price does ----------------------------------------------------------------------


@pytest.mark.usefixtures("broadcasting")
@pytest.mark.parametrize("factors", [(100.0,), (3.0,), (100.0, 100.0), (0.2,)])
def test_a_wrong_price_does_not_flatten_the_returns_after_it(tmp_path, factors):
    """Left out, or limited to a factor in the running deviation, which halves in 1,000 ticks."""
    prices = 100 + np.cumsum(np.random.default_rng(0).integers(-1, 2, 2_000)) / 100
    ranks = []
    for wrong in ((), factors):
        series = prices.copy()
        series[500 : 500 + len(wrong)] *= wrong
        body = "".join(f"{START + 250 * k},{price:.2f},1\n" for k, price in enumerate(series))
        data = ticks.prepare(ticks.load(write(tmp_path / "x.csv", HEADER + body)), "event")
        ranks.append(data.ranks[1_000:1_100, 0].astype(int))
    plain, after = (each.max() - each.min() for each in ranks)
    assert after > 0.6 * plain


# --- the law --------------------------------------------------------------------------------------

NOTES = st.text(alphabet='ab ",;\n', max_size=8)
GOOD = st.tuples(st.just("good"), st.integers(100, 900), st.integers(0, 99), NOTES)
BROKEN = st.tuples(
    st.just("broken"), st.sampled_from(["short", "long", "price", "time", "quote", "empty"])
)
BLANK = st.tuples(st.just("blank"), st.sampled_from(["", " ", "\t"]))


def render(items, form: str, separator: str, quoted: bool, end: str):
    """The text of a file, and its true rows, broken lines and number of lines."""
    file = io.StringIO()
    quoting = writer.QUOTE_ALL if quoted else writer.QUOTE_MINIMAL
    sheet = writer.writer(file, delimiter=separator, quoting=quoting, lineterminator=end)
    sheet.writerow(["timestamp", "note", "price", "volume"])
    rows, broken, line, blank, breaks = [], [], 2, 0, 0
    for k, item in enumerate(items):
        time = DAY_MS + 250 * k
        stamp = FORMATS[form](time).strip('"')
        if item[0] == "good":
            _, price, volume, note = item
            rows.append((time, price / 4, volume))
            sheet.writerow([stamp, note, price / 4, volume])
            line, breaks = line + note.count("\n"), breaks + note.count("\n")
        elif item[0] == "blank":
            file.write(item[1].replace(separator, " ") + end)
            blank += 1
        else:
            cells = {
                "short": [stamp, "a", "1"],
                "long": [stamp, "a", "1", "100", "1"],
                "price": [stamp, "a", "1O0", "1"],
                "time": ["yesterday", "a", "100", "1"],
                "quote": [stamp, '"', "100", "1"],
                "empty": ["", "", "", ""],
            }[item[1]]
            file.write(separator.join(cells) + end)
            broken.append(line)
        line += 1
    return file.getvalue(), np.array(rows, float), broken, line - 2, blank, breaks


@settings(max_examples=150)
@given(
    items=st.lists(st.one_of(GOOD, GOOD, BROKEN, BLANK), max_size=12),
    form=st.sampled_from(["s", "ms", "us", "ns", "iso Z", "compact", "histdata", "Dukascopy"]),
    separator=st.sampled_from(",;\t"),
    quoted=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([50, 333, 2**23]),
)
def test_every_line_is_accounted_for(tmp_path_factory, items, form, separator, quoted, end, block):
    """Rows, rows left out, blank lines and breaks in quotes are all lines; values are right."""
    start = [("good", 400 + k, k, "") for k in range(len(items) + 1)]
    text, rows, broken, count, blank, breaks = render(start + items, form, separator, quoted, end)
    path, bad = tmp_path_factory.getbasetemp() / "law.csv", csv.Bad()
    write(path, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        patch.setattr(csv, "BAD_SHARE", 1.0)
        read = columns(path, bad=bad)
    kinds = ("timestamp", "price", "volume")
    np.testing.assert_array_equal(np.stack([read[kind] for kind in kinds], 1), rows)
    assert (bad.rows, bad.blank) == (len(broken), blank)
    assert len(rows) + bad.rows + bad.blank + breaks == count
    named = [int(message.removeprefix(f"{path}:").partition(":")[0]) for message in bad.first]
    assert named == broken[:3]


def test_a_table_that_grows_without_end_is_read_in_little_memory(tmp_path):
    """A small gzip file of line ends, or of lines that are no rows: nothing is kept of a line."""
    first, rows = HEADER.encode(), "".join(row(k) + "\n" for k in range(10)).encode()
    many = 3 * lines.BLOCK
    blank = tmp_path / "blank.csv.gz"
    blank.write_bytes(gzip.compress(first + b"\n" * many + rows + b"\r\n" * many, 1))
    bad = csv.Bad()
    assert sum(len(block["price"]) for block in csv.read(blank, None, bad)) == 10
    assert (bad.rows, bad.blank) == (0, 2 * many)
    faulty = tmp_path / "faulty.csv.gz"
    faulty.write_bytes(gzip.compress(first + b"x\n" * many, 1))
    with lines.open_text(faulty) as file:
        layout = header.layout(faulty, lines.first(faulty, file), {})
        block = next(lines.blocks(faulty, file, layout))
    assert block.faulty == lines.BLOCK // 2
    assert len(block.faults) == lines.MOST_FAULTS
    assert block.faults[0][0] == 2
