"""Takes the documentation's pictures from a running Galena.

Start `galena up --samples`, wait until the samples are scored, and in another terminal run
`.venv/bin/python docs/pictures/take.py`. It needs Debian's package chromium; the pages are driven
over Chromium's DevTools protocol, for they have drawn themselves only some time after they loaded.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text
from websockets.sync.client import ClientConnection, connect

HERE = Path(__file__).parent
SECONDS = 60
TERMINAL_COLUMNS = 88
# With this height of a line, the strokes of a table's frame meet.
TERMINAL_PAGE = """\
<body style="margin: 0">
<pre style="display: inline-block; margin: 0; padding: 20px; color: {foreground};
  background: {background}; font: 23px/1.16 DejaVu Sans Mono, monospace">{code}</pre>
</body>
"""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    # Nothing but Galena is asked, not even for fonts.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
ASSETS = ("crm_records", "lead_features", "lead_model", "lead_scores", "serving")


class Page:
    """One page of a headless Chromium."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._calls = 0

    def open(self, url: str, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url=url)

    def remember(self, key: str, value: str) -> None:
        """Let every page opened from now on find this in its local storage."""
        script = f"localStorage.setItem({json.dumps(key)}, {json.dumps(value)})"
        self._call("Page.enable")
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def double_click(self, x: int, y: int) -> None:
        for clicks in (1, 2):
            for event in ("mousePressed", "mouseReleased"):
                where = {"x": x, "y": y, "button": "left", "clickCount": clicks}
                self._call("Input.dispatchMouseEvent", type=event, **where)

    def wait(self, condition: str) -> None:
        """Return once the JavaScript expression is true, and the page has come to rest."""
        deadline = time.monotonic() + SECONDS
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                shown = self.evaluate("document.body.innerText")
                sys.exit(f"After {SECONDS} s the page still lacks {condition}. It shows:\n{shown}")
            time.sleep(0.5)
        time.sleep(3)

    def evaluate(self, expression: str) -> Any:
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def save(self, name: str, box: dict[str, float]) -> None:
        """Write the part of the page in box (x, y, width, height in CSS pixels) as a PNG."""
        shot = self._call("Page.captureScreenshot", format="png", clip={**box, "scale": 1})
        path = HERE / name
        path.write_bytes(base64.b64decode(shot["data"]))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(SECONDS))
            if message.get("id") == self._calls:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result


@contextmanager
def browser() -> Iterator[Page]:
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is not on the PATH: install Debian's package chromium.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = devtools_port(Path(profile) / "DevToolsActivePort")
            request = Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
            with urlopen(request) as answer:
                address = json.load(answer)["webSocketDebuggerUrl"]
            with connect(address, max_size=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait()


def devtools_port(file: Path) -> int:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.1)
    sys.exit(f"chromium named no DevTools port within {SECONDS} s.")


def take_assets(page: Page, address: str) -> None:
    """Dagster's graph of all assets, green where every tenant's partition is materialized."""
    page.remember("dagster-nav-collapsed", "true")
    groups = ",".join(f"global@global:{group}" for group in ("crm", "leads", "serving"))
    page.open(f"{address}/asset-groups?expanded={groups}", 1280, 500)
    page.wait(f"{json.dumps(ASSETS)}.every(name => document.body.innerText.includes(name))")
    page.evaluate(
        "document.querySelector('[aria-label=panel_show_right]').closest('button').click()"
    )
    # A double click beside the graph fits it into the room that its list of names has left.
    page.double_click(700, 470)
    time.sleep(3)
    page.save("assets.png", {"x": 0, "y": 0, "width": 1280, "height": 500})


def take_scores(page: Page) -> None:
    """What `galena scores bank --limit 3` prints."""
    galena = Path(sys.executable).with_name("galena")
    command = ["scores", "bank", "--limit", "3"]
    done = subprocess.run(
        [galena, *command],
        env={**os.environ, "COLUMNS": str(TERMINAL_COLUMNS), "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=TERMINAL_COLUMNS, file=nowhere)
        console.print(Text(f"$ galena {' '.join(command)}", style="bold"))
        console.print(Text.from_ansi(done.stdout.rstrip()))
    document = console.export_html(
        theme=DIMMED_MONOKAI, inline_styles=True, code_format=TERMINAL_PAGE
    )
    address = "data:text/html;charset=utf-8;base64," + base64.b64encode(document.encode()).decode()
    page.open(address, 1280, 900)
    page.wait("document.querySelector('pre')")
    box = page.evaluate("document.querySelector('pre').getBoundingClientRect().toJSON()")
    page.save("scores.png", {side: box[side] for side in ("x", "y", "width", "height")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=3000, help="of Dagster's webserver")
    port = parser.parse_args().port
    with browser() as page:
        take_assets(page, f"http://127.0.0.1:{port}")
        take_scores(page)


if __name__ == "__main__":
    main()
