"""A headless Chromium that a test drives, by its debugging protocol over two pipes.

One browser and one page; no driver, and no library beyond Python's own.
"""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-pipe",
)
MESSAGES = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}


class Browser:
    """A page in a browser; a context manager that ends it."""

    def __init__(self, program: str, folder: Path):
        to_browser, ours_out = os.pipe()
        ours_in, from_browser = os.pipe()

        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'  # the protocol has 3 and 4
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "-", program, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for end in (to_browser, from_browser):
            os.close(end)
        self.reader, self.writer = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self.number, self.rest, self.session = 0, b"", None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.close()
        self.writer.close()

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            some = os.read(self.reader.fileno(), 1 << 16)
            assert some, "the browser ended"
            self.rest += some
        text, _, self.rest = self.rest.partition(b"\0")
        return json.loads(text)

    def call(self, method: str, **params) -> dict[str, Any]:
        """Call a method of the protocol; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while (answer := self._message()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def screen(self, width: int, height: int = 900, dark: bool = False) -> None:
        """The size of the window, and the colours that the system prefers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go to a page, and wait until it and all that it asks for are loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript, awaited if it is a promise."""
        options = {"awaitPromise": True, "returnByValue": True}
        result = self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def complaints(self) -> list[str]:
        """What the page wrote to the console, and errors in it, since it was opened."""
        return [json.dumps(event) for event in self.events if event["method"] in MESSAGES]

    def requests(self) -> list[str]:
        """The addresses that the page asked for since it was opened."""
        sent = "Network.requestWillBeSent"
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == sent]

    def picture(self, path: Path, whole: bool = False) -> None:
        """Write what the window shows, or the whole page, as a PNG file."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
