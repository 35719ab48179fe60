"""The memory of markets: from one start to the next, after kills and with other circuits."""

import signal
import threading

import numpy as np
import pytest
import serving

from cerebellum.service import persistence


def signals(answer):
    status, body = answer
    assert status == 200, body
    return body["trading_signals"]


def test_a_restart_goes_on_as_if_it_had_never_stopped_and_a_hangup_rereads(tmp_path):
    stopped = serving.serve(tmp_path)
    # The order of their last ticks is not that of their names.
    other = [signals(stopped.tick("z", i)) for i in range(2)]
    got = [signals(stopped.tick("a", i)) for i in range(4)]
    assert stopped.stop(signal.SIGTERM) == 0
    assert stopped.said() == ""
    assert (tmp_path / "models/service/checkpoints").is_dir()
    stopped.start()
    got += [signals(stopped.tick("a", i)) for i in range(4, 8)]
    other += [signals(stopped.tick("z", i)) for i in range(2, 5)]
    # Another market, whose ticks all come now, starts as these did.
    expected = [signals(stopped.tick("b", i)) for i in range(8)]
    assert (got, other) == (expected, expected[:5])
    # Time goes on, too.
    assert stopped.tick("a", 2)[0] == 422
    hangup_rereads_what_can_change_and_names_what_cannot(stopped)
    assert stopped.stop() == 0


def test_a_checkpoint_says_which_memory_is_whose():
    """Earlier ones did not, and several memories of these cannot be told apart."""
    assert persistence._rows({"a": {"row": 1}, "z": {"row": 0}}) == [
        ("z", {"row": 0}, 0),
        ("a", {"row": 1}, 1),
    ]
    assert persistence._rows({"a": {}}) == [("a", {}, 0)]
    assert [row for _, _, row in persistence._rows({"a": {}, "z": {}})] == [None, None]


@pytest.mark.slow
def test_killed_under_load_it_says_how_many_ticks_that_cost_and_another_circuit_starts_fresh(
    tmp_path,
):
    """Everything up to the last checkpoint is there; the log counts what came after it.

    It is then stopped and started with another circuit.
    """
    server = serving.serve(tmp_path, training={"checkpoint_interval": 1.0})
    done = {"ticks": 0}

    def load():
        try:
            while True:
                if server.tick("a", done["ticks"])[0] == 200:
                    done["ticks"] += 1
        except OSError:
            return

    thread = threading.Thread(target=load)
    thread.start()
    serving.until(lambda: list((tmp_path / "models/service/checkpoints").glob("0*")))
    saved = done["ticks"]
    serving.until(lambda: done["ticks"] > saved + 1)
    server.process.send_signal(signal.SIGKILL)
    thread.join()
    server.process.wait()
    server.start()
    lines = server.log()
    restored = [line for line in lines if line["message"] == "state restored"]
    assert len(restored) == 1
    lost = sum(line["fields"].get("ticks_lost", 0) for line in lines)
    kept = restored[0]["fields"]["ticks"]
    assert kept >= 1
    # The tick under way may have been counted and not answered.
    assert done["ticks"] <= kept + lost <= done["ticks"] + 1
    assert kept + lost > kept
    # The market's clock is that of the checkpoint: what was lost can be sent again.
    assert server.tick("a", kept)[0] == 200
    assert server.tick("a", kept - 2)[0] == 422
    assert server.stop() == 0
    assert not list((tmp_path / "models").glob("service-of-another-*"))
    text = server.config.read_text()
    server.config.write_text(
        text.replace(f"granule_size = {serving.GRANULES}", "granule_size = 150")
    )
    server.start()
    assert server.tick("a", 1)[0] == 200
    warnings = [line["message"] for line in server.log() if line["level"] == "WARNING"]
    assert any("another circuit" in message for message in warnings)
    aside = list((tmp_path / "models").glob("service-of-another-*"))
    assert len(aside) == 1
    assert (aside[0] / "checkpoints").is_dir()
    assert server.stop() == 0


@pytest.mark.slow
def test_a_market_that_is_put_away_comes_back_as_it_was(tmp_path):
    few = serving.serve(tmp_path, server={"max_markets": 1})
    got = [signals(few.tick("a", i)) for i in range(2)]
    status, body, headers = few.ask(
        "POST", "/neural/process", b'{"market_id":"b","price":1,"volume":1,"timestamp":1}'
    )
    assert status == 429
    assert "max_markets" in body["detail"]
    assert headers["retry-after"] == "1"
    # Once idle, a market gives its place; what it remembers is on the disk.
    serving.until(lambda: few.tick("b", 0)[0] == 200)
    assert few.stop(signal.SIGINT) == 0
    assert (tmp_path / "models/service/checkpoints").is_dir()
    few.start()
    got += [signals(few.tick("a", i)) for i in range(2, 4)]
    others = []

    def in_place() -> bool:
        answer = few.tick("c", 0)
        if answer[0] == 200:
            others.append(signals(answer))
        return bool(others)

    # Another market, which is not put away between its ticks.
    serving.until(in_place)
    others += [signals(few.tick("c", i)) for i in range(1, 4)]
    np.testing.assert_array_equal(got, others)
    assert few.stop() == 0


def hangup_rereads_what_can_change_and_names_what_cannot(server):
    """The configuration of a service that runs is changed twice, the second time wrongly."""
    text = server.config.read_text()
    server.config.write_text(
        text.replace(f"granule_size = {serving.GRANULES}", "granule_size = 150")
        + "[training]\ncheckpoint_interval = 5\n"
    )
    server.process.send_signal(signal.SIGHUP)
    serving.until(lambda: server.log_says("checkpoint_interval"))
    messages = [line["message"] for line in server.log()]
    assert any(
        m.startswith(f"neural.granule_size: cannot change live ({serving.GRANULES};")
        for m in messages
    )
    assert "training.checkpoint_interval: now 5.0" in messages
    assert "checkpoint_interval_seconds 5.0" in server.get("/metrics")[1]
    server.config.write_text("[neural]\ngranule_siz = 1\n")
    server.process.send_signal(signal.SIGHUP)
    serving.until(lambda: server.log_says("granule_siz:"))
    assert server.tick("a", 8)[0] == 200
    checks = checks_of(server)
    assert checks["configuration"]["status"] == "degraded"
    assert "granule_siz: unknown key" in checks["configuration"]["message"]
    assert 'check_status{check="configuration"} 1.0' in server.get("/metrics")[1]
    server.config.write_text(text.replace("[server]", "[server]\nmax_body_size = 1000"))
    server.process.send_signal(signal.SIGHUP)
    serving.until(lambda: checks_of(server)["configuration"]["status"] == "healthy")
    message = checks_of(server)["configuration"]["message"]
    assert message == "a restart changes server.max_body_size"
    assert 'check_status{check="configuration"} 0.0' in server.get("/metrics")[1]


def checks_of(server):
    return {check["name"]: check for check in server.get("/health")[1]["checks"]}


def test_a_signal_while_it_starts_ends_it_at_once(tmp_path):
    server = serving.Serving.__new__(serving.Serving)
    server.port, server.folder, server.headers = serving.free_port(), tmp_path, {}
    server.config = serving.configuration(tmp_path, server.port)
    server.start(wait=False)
    serving.until(lambda: server.ready() == 503)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) == 0
