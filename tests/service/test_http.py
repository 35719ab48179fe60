"""Every request that the service answers over HTTP, and those that it must refuse."""

import contextlib
import json
import random
import signal
import socket
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
import serving
from hypothesis import HealthCheck, settings
from schemathesis import openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from cerebellum.service import metrics

GOOD = {"market_id": "m", "price": 1.5, "volume": 2.0, "timestamp": 1_700_000_000_000}


def test_every_endpoint_answers(service):
    status, report = service.tick("EUR/USD")
    assert status == 200
    assert sum(report["trading_signals"]) == pytest.approx(1, abs=1e-12)
    assert len(report["trading_signals"]) == 3
    assert report["confidence"] == pytest.approx(max(report["trading_signals"]), abs=1e-6)
    assert report["processing_time_ns"] > 0
    assert report["model"] == "untrained"
    spikes = report["neural_metrics"]["spike_counts"]
    assert spikes["granule"] > 0
    assert report["neural_metrics"]["firing_rates"]["granule"] == spikes["granule"] / 1_000 / 0.01

    status, report = service.get("/health")
    assert (status, report["status"], report["model"]) == (200, "healthy", "untrained")
    assert [each["name"] for each in report["checks"]] == list(metrics.CHECKS)
    assert report["uptime_seconds"] > 0
    assert service.get("/ready") == (200, {"ready": True, "status": "ready"})

    status, report = service.get("/neural/metrics")
    assert status == 200
    assert report["neural_metrics"]["cells"]["granule"] == 1_000
    speed = report["performance_metrics"]
    assert speed["avg_latency_ns"] > 0
    assert speed["p95_latency_ns"] <= speed["p99_latency_ns"]
    assert speed["throughput_ticks_per_second"] > 0
    assert speed["error_rate"] == 0
    frames = service.get("/neural/raster")[1]
    assert len(frames["frames"][-1]) == len(frames["populations"])

    status, report = service.get("/training/status/latest")
    assert status in (200, 404)
    status, report, headers = service.ask("GET", "/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")


def test_a_batch_is_its_ticks_one_by_one(service):
    ticks = [serving.tick(i) for i in range(5)]
    for tick in ticks:
        status, alone = service.post("/neural/process", {"market_id": "one", **tick})
        assert status == 200
    status, together = service.post("/neural/process", {"market_id": "all", "batch_data": ticks})
    assert status == 200
    assert together["ticks"] == 5
    assert together["trading_signals"] == alone["trading_signals"]


def test_markets_do_not_disturb_each_other(service):
    """The same ticks give the same answers, alone and beside others in the same calls."""
    from concurrent.futures import ThreadPoolExecutor

    def signals(name):
        return [service.tick(name, i)[1]["trading_signals"] for i in range(6)]

    alone = signals("alone")
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(signals, [f"beside{i}" for i in range(8)]))
    assert all(rows == alone for rows in many)


def body(**changes):
    fields = {**GOOD, **changes}
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    ("payload", "names"),
    [
        (body(price=-1.0), "price"),
        (body(price=0), "price"),
        (body(price="1"), "price"),
        (body(price=None), "price"),
        (body(volume=-1), "volume"),
        (body(volume=None), "volume"),
        (body(timestamp=None), "timestamp"),
        (body(timestamp=-1), "timestamp"),
        (body(timestamp=1e300), "timestamp"),
        (
            body(timestamp=1_700_000_000),
            "timestamp: 1700000000, which looks like seconds; ms since 1970",
        ),
        (body(market_id=""), "market_id"),
        (body(market_id=None), "market_id"),
        (body(market_id="x" * 129), "market_id"),
        (body(market_id=5), "market_id"),
        (body(colour="red"), "colour"),
        (body(side="up"), "side"),
        (body(market_id="crossed", bid=2.0, ask=1.0), "bid"),
        (body(batch_data=[]), "batch_data"),
        (body(batch_data=[serving.tick(0)]), "price"),
        ({"market_id": "m", "batch_data": [{**serving.tick(0), "volume": -1}]}, "batch_data.0"),
        ([], ""),
        ("text", ""),
        (None, ""),
    ],
)
def test_a_wrong_body_is_422_and_names_the_field(service, payload, names):
    status, report = service.post("/neural/process", payload)
    assert status == 422
    assert report["detail"].startswith(names)
    assert "\n" not in report["detail"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"NaN",
        b'{"market_id":"m","price":NaN,"volume":1,"timestamp":1}',
        b'{"market_id":"m","price":Infinity,"volume":1,"timestamp":1}',
        b'{"market_id":"m","price":1e999,"volume":1,"timestamp":1}',
        b'{"market_id":"m","price":' + b"9" * 5_000 + b',"volume":1,"timestamp":1}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"\xff\xfe\x00",
        b'{"market_id":"\\ud800","price":1,"volume":1,"timestamp":1}',
    ],
)
def test_what_is_no_json_of_ours_is_422(service, text):
    assert service.ask("POST", "/neural/process", text)[0] == 422


def test_time_does_not_run_backwards(service):
    assert service.tick("clock", 5)[0] == 200
    status, report = service.tick("clock", 4)
    assert status == 422
    assert report["detail"].startswith("timestamp: ")
    # Nothing of a batch is taken where a tick in it cannot be.
    ticks = [serving.tick(6), serving.tick(3)]
    assert service.post("/neural/process", {"market_id": "clock", "batch_data": ticks})[0] == 422
    assert service.tick("clock", 5)[0] == 200


def test_odd_markets_are_markets(service):
    for name in ("€/¥", "../../etc/passwd", "a\u0000b", "🧠" * 30, "' OR 1=1 --", "<script>"):
        assert service.tick(name)[0] == 200
    assert "<script>" not in service.get("/metrics")[1]


def test_sizes_and_methods(service):
    assert service.ask("POST", "/neural/process", b"x" * 1_000_001)[0] == 413
    assert service.ask("GET", "/neural/process")[0] == 405
    assert service.ask("POST", "/health", b"{}")[0] == 405
    assert service.get("/../../etc/passwd")[0] == 404
    assert service.get("/nothing")[0] == 404
    assert service.get("/training/status/..%2F..%2Fx")[0] == 404
    status, report = service.post("/training/start", {"data": "../../etc/passwd"})
    assert status == 422
    assert report["detail"] == "data: no such file below storage.data"


def raw(service, text: bytes, wait: float = 5.0) -> bytes:
    with socket.create_connection(("127.0.0.1", service.port), timeout=wait) as sock:
        sock.sendall(text)
        answer = b""
        try:
            while data := sock.recv(65_536):
                answer += data
        except OSError:
            pass
        return answer


def test_a_body_without_a_length_is_bounded_too(service):
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    head = b"POST /neural/process HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    assert raw(service, head + chunk * 20).startswith(b"HTTP/1.1 413")


def test_another_site_s_page_may_not_ask(service):
    foreign = {"origin": "http://evil.example"}
    text = json.dumps(GOOD).encode()
    assert service.ask("POST", "/neural/process", text, **foreign)[0] == 403
    same_site = {"origin": f"http://127.0.0.1:{service.port}"}
    assert service.ask("GET", "/health", **same_site)[0] == 200


def request(path: str = "/health", *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join((f"GET {path} HTTP/{version}", *headers, "", "")).encode()


LOCAL, END = "host: localhost", "connection: close"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (request("/health", "host: evil.example", "origin: http://evil.example"), 421),
        (request("/", "host: evil.example:8080"), 421),
        (request("/metrics", "host: localhost.evil.example"), 421),
        (request("/metrics", "host:"), 421),
        (request("/health"), 400),
        (request("/health", LOCAL, "host: evil.example"), 400),
        (request("/health", version="1.0"), 200),
        (request("/health", "host: LOCALHOST:1", END), 200),
        (request("/health", "host: [::1]:8080", END), 200),
        (request("/health", "host: 10.1.2.3", END), 200),
    ],
)
def test_only_known_hosts_are_served(service, text, status):
    """A page whose name is resolved to this machine has that name as its Host, and its origin."""
    assert raw(service, text).split()[1] == str(status).encode()


def test_the_page_can_be_in_no_frame(service):
    status, _, headers = service.ask("GET", "/")
    assert status == 200
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/metrics", "/openapi.json"])
def test_head_is_get_without_a_body(service, path):
    status, body, headers = service.ask("HEAD", path)
    assert (status, body) == (200, "")
    assert int(headers["content-length"]) > 0
    assert headers["content-type"] == service.ask("GET", path)[2]["content-type"]
    assert service.ask("HEAD", "/neural/process")[0] == 405


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b'{"market_id":"a","market_id":"b","price":1,"volume":1,"timestamp":1}', "market_id: "),
        (b'{"market_id":"a","price":1,"volume":1,"price":2,"timestamp":1}', "price: given twice"),
        (
            b'{"market_id":"a","batch_data":[{"price":1,"volume":1,"volume":1,"timestamp":1}]}',
            "volume: given twice",
        ),
    ],
)
def test_a_key_given_twice_is_422(service, text, detail):
    status, report, _ = service.ask("POST", "/neural/process", text)
    assert status == 422
    assert report["detail"].startswith(detail)


def test_a_tick_from_the_future_costs_a_market_nothing(service):
    now = time.time() * 1e3
    for ahead in (253_402_300_799_999, now + 400_000):
        status, report = service.tick("future", 0, timestamp=ahead)
        assert status == 422
        assert "ahead of this machine's clock; at most 300 s" in report["detail"]
        late = {"market_id": "future", "batch_data": [serving.tick(0), {**serving.tick(1)}]}
        late["batch_data"][1]["timestamp"] = ahead
        assert service.post("/neural/process", late)[0] == 422
    assert service.tick("future", 0)[0] == 200


def test_a_market_can_be_reset(service):
    fresh = [service.tick("reset", i)[1]["trading_signals"] for i in range(3)]
    assert service.tick("reset", 3, timestamp=time.time() * 1e3)[0] == 200
    assert service.tick("reset", 3)[0] == 422
    assert service.post("/markets/reset", {"market_id": "reset"}) == (
        200,
        {"market_id": "reset", "reset": True},
    )
    assert [service.tick("reset", i)[1]["trading_signals"] for i in range(3)] == fresh
    assert service.post("/markets/reset", {"market_id": "of nobody"})[0] == 404
    assert service.post("/markets/reset", {"market": "reset"})[0] == 422


def resident(service) -> int:
    """Bytes."""
    lines = (Path("/proc") / str(service.process.pid) / "status").read_text().splitlines()
    return 1_024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_trailers_take_no_memory(service):
    head = request("/nothing", LOCAL, "transfer-encoding: chunked") + b"0\r\n"
    before = resident(service)
    line = b"x-trailer: " + b"y" * 60_000 + b"\r\n"
    answer = raw(service, head + line * 1_000)
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 431"))
    assert resident(service) - before < 20e6


def test_headers_and_body_may_come_apart(service):
    """Also where the answer does not wait for the body."""
    text = json.dumps({**GOOD, "market_id": "apart"}).encode() + b" " * 100_000
    with contextlib.closing(HTTPConnection("127.0.0.1", service.port, timeout=10)) as connection:
        connection.connect()
        connection.auto_open = 0  # both go through one connection
        for path, status in (("/neural/process", 200), ("/nothing", 404)):
            connection.putrequest("POST", path)
            connection.putheader("content-length", str(len(text)))
            connection.endheaders()
            time.sleep(0.2)
            connection.send(text)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status


def test_a_flood_of_headers_is_cut_off(service):
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"x-a: " + b"y" * 70_000
    assert raw(service, head).startswith(b"HTTP/1.1 431")
    many = b"".join(b"x-%d: y\r\n" % i for i in range(20_000))
    assert raw(service, b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + many).startswith(
        b"HTTP/1.1 4"
    )
    whole = request("/health", LOCAL, "x-a: " + "y" * 70_000)
    assert raw(service, whole).startswith(b"HTTP/1.1 431")
    assert raw(service, request("/" + "y" * 70_000, LOCAL)).startswith(b"HTTP/1.1 431")
    # Behind a request that is good, in the same packet.
    assert b"HTTP/1.1 431" in raw(service, request("/health", LOCAL) + whole)
    assert raw(service, b"\x16\x03\x01 what\r\n\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.slow
def test_half_open_connections_do_not_stop_the_others(tmp_path):
    """More than there is room for; each is closed in time, or makes room."""
    server = serving.serve(tmp_path, server={"max_connections": 100, "connection_timeout": 2.0})
    silent = []
    for index in range(1_000):
        sock = socket.create_connection(("127.0.0.1", server.port))
        sock.sendall(b"POST /neural/process HTTP/1.1\r\n" if index % 2 else b"")
        silent.append(sock)
    for index in range(10):
        assert server.tick("a", index)[0] == 200
    for sock in silent:
        sock.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1_000) == b""
        sock.close()
    assert server.stop() == 0


def test_ten_thousand_random_bodies_break_nothing(service):
    """A tenth of them here; `scripts/soak/requests.py --bodies` sends all."""
    rng = random.Random(0)
    import http.client

    line = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    alphabet = list('{}[]":,.0123456789eE+-nulltruefalse \\u\x00é') + list(GOOD)
    statuses = set()
    for _ in range(1_000):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 200))).encode()
        if rng.random() < 0.3:
            good = bytearray(json.dumps(GOOD).encode())
            good[rng.randrange(len(good))] = rng.randrange(256)
            text = bytes(good)
        line.request("POST", "/neural/process", text)
        answer = line.getresponse()
        answer.read()
        statuses.add(answer.status)
    assert statuses <= {200, 422}
    assert service.get("/health")[1]["status"] == "healthy"
    assert service.said() == ""


@pytest.mark.slow
def test_a_fuzzer_that_reads_the_document_finds_no_failure(service):
    """schemathesis: every endpoint, no 5xx but 503, answers as the document says."""
    schema = openapi.from_url(f"http://127.0.0.1:{service.port}/openapi.json")
    conform = (not_a_server_error, status_code_conformance, response_schema_conformance)
    statuses = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        for case in _cases(operation):
            answer = case.call()
            statuses.add((operation.path, answer.status_code))
            assert "Traceback" not in answer.text
            if answer.status_code != 503:
                case.validate_response(answer, checks=conform)
    assert ("/neural/process", 200) in statuses
    assert ("/neural/process", 422) in statuses
    assert service.get("/health")[1]["status"] == "healthy"


def _cases(operation, count: int = 60):
    from hypothesis import given

    cases = []

    @given(case=operation.as_strategy())
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def collect(case):
        cases.append(case)

    collect()
    return cases


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    path = folder / "keys"
    path.write_text("first-key-0123456789\nsecond-key-0123456789\n")
    path.chmod(0o600)
    port = serving.free_port()
    config = serving.configuration(
        folder, port, server={"api_key_file": str(path), "host": "0.0.0.0", "port": port}
    )
    server = serving.Serving(config=config, port=port, folder=folder)
    yield server
    server.stop()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "first-key-0123456789"},
        {"authorization": "Bearer second-key-0123456789"},
        {"authorization": "bearer first-key-0123456789"},
    ],
)
def test_a_key_opens(guarded, headers):
    assert guarded.ask("GET", "/neural/metrics", **headers)[0] == 200
    assert guarded.ask("GET", "/metrics", **headers)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-api-key": ""}, {"x-api-key": "first"}, {"authorization": "Basic Zmlyc3Q="}],
)
def test_no_key_is_401(guarded, headers):
    for path in ("/neural/metrics", "/metrics", "/openapi.json", "/training/status/latest"):
        status, report, sent = guarded.ask("GET", path, **headers)
        assert status == 401
        assert "key" in report["detail"]
        assert sent["www-authenticate"] == "Bearer"


def test_probes_and_the_page_need_none(guarded):
    assert guarded.get("/health")[0] == 200
    assert guarded.get("/ready")[0] == 200
    assert guarded.get("/")[0] == 200


def test_a_key_in_a_trailer_opens_nothing(guarded):
    head = request("/metrics", LOCAL, "transfer-encoding: chunked", END)
    trailer = b"0\r\nx-api-key: first-key-0123456789\r\n\r\n"
    assert raw(guarded, head + trailer).startswith(b"HTTP/1.1 401")


def test_keys_are_renewed_at_a_hangup(guarded):
    first, third = ({"x-api-key": f"{name}-key-0123456789"} for name in ("first", "third"))
    path = guarded.folder / "keys"
    before = path.read_text()

    def statuses() -> list[int]:
        return [guarded.ask("GET", "/neural/metrics", **key)[0] for key in (first, third)]

    path.write_text("third-key-0123456789\nsecond-key-0123456789\n")
    assert statuses() == [200, 401]
    guarded.process.send_signal(signal.SIGHUP)
    serving.until(lambda: guarded.log_says("2 keys, 1 of them new; 1 withdrawn"))
    assert statuses() == [401, 200]
    # A file that is not valid, or a configuration without one, takes no key away.
    path.chmod(0o644)
    guarded.process.send_signal(signal.SIGHUP)
    serving.until(lambda: guarded.log_says("the keys stay as they were"))
    assert statuses() == [401, 200]
    serving.until(lambda: guarded.get("/health")[1]["status"] == "degraded")
    path.chmod(0o600)
    path.write_text(before)
    guarded.process.send_signal(signal.SIGHUP)
    serving.until(lambda: statuses() == [200, 401])


def test_keys_are_in_no_log(guarded):
    guarded.ask("GET", "/metrics", **{"x-api-key": "wrong-key-0123456789"})
    text = (guarded.folder / "log/application.log").read_text() + guarded.said()
    assert "key-0123456789" not in text


@pytest.mark.parametrize(
    ("keys", "mode", "host", "message"),
    [
        (None, 0, "0.0.0.0", "is not loopback and there is no api_key_file"),
        ("long-enough-0123456789", 0o644, "0.0.0.0", "others may read it"),
        ("short", 0o600, "0.0.0.0", "a line of at least 16 characters"),
        ("", 0o600, "127.0.0.1", "no key"),
    ],
)
def test_it_does_not_start_unguarded(tmp_path, run, keys, mode, host, message):
    server = {"host": host, "port": serving.free_port()}
    if keys is not None:
        path = tmp_path / "keys"
        path.write_text(keys)
        path.chmod(mode)
        server["api_key_file"] = str(path)
    config = serving.configuration(tmp_path, server["port"], server=server)
    code, _, err = run("--config", config)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_port_that_is_taken_is_found_at_once(tmp_path, run):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        config = serving.configuration(tmp_path, sock.getsockname()[1])
        code, _, err = run("--config", config)
    assert code == 2
    assert "server.port: Address already in use" in err
