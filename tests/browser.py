"""Headless Chromium, spoken to by the W3C WebDriver protocol: JSON over HTTP, no package beside Debian's.

``apt-get install chromium chromium-driver`` brings both programs.
"""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
STARTS = 30.0  # seconds that the driver has to come up
TAB, ENTER = "\ue004", "\ue007"


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Browser:
    """One browser with one page. Use as a context manager."""

    def __enter__(self) -> "Browser":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        words = ["chromedriver", f"--port={port}"]
        self.driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.address = f"http://127.0.0.1:{port}"
        options = {
            "goog:chromeOptions": {
                "args": [*ARGUMENTS, f"--user-data-dir={self.profile.name}"],
                "binary": shutil.which("chromium"),
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        try:
            self._wait()
            started = self._send("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        except BaseException:
            self.driver.terminate()
            raise
        self.session = f"/session/{started['sessionId']}"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._send("DELETE", self.session)
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.profile.cleanup()

    def _wait(self) -> None:
        for _ in range(int(STARTS / 0.1)):
            try:
                if self._send("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("chromedriver does not answer")

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    def open(
        self, path: Path, *, width: int = 1400, height: int = 900, dark: bool = False, still: bool = False
    ) -> None:
        """Show a file in a window of a size, to a reader with a light or a dark desktop, who may want less motion."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._cdp("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}
        self._cdp("Emulation.setEmulatedMedia", {"features": [scheme, motion]})
        self._send("POST", f"{self.session}/url", {"url": path.resolve().as_uri()})

    def _cdp(self, command: str, parameters: Any) -> Any:
        return self._send("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str) -> Any:
        """Return what the body of a function of JavaScript returns."""
        return self._send("POST", f"{self.session}/execute/sync", {"script": script, "args": []})

    def back(self) -> None:
        """Leave the page and come back to it."""
        self._send("POST", f"{self.session}/url", {"url": "about:blank"})
        self._send("POST", f"{self.session}/back")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        self._send("POST", f"{self.session}/actions", body)

    def errors(self) -> list[str]:
        """Return what the browser complained of since the last call: errors of scripts, things that it blocked."""
        log = self._send("POST", f"{self.session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in log if entry["level"] in ("SEVERE", "WARNING")]

    def printed(self, path: Path) -> Path:
        """Print the page on A4 into a PDF."""
        size = {"page": {"width": 21.0, "height": 29.7}, "background": True}
        path.write_bytes(base64.b64decode(self._send("POST", f"{self.session}/print", size)))
        return path

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        """Write a picture of the window, or of the whole page."""
        shot = self._cdp(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole, **self._clip(whole)}
        )
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        width, height = self.run("const e = document.documentElement; return [e.clientWidth, e.scrollHeight]")
        return {"clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}}
