"""A headless Chromium for the tests and the pictures of the documentation: Debian's, driven by selenium."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)


def missing() -> str | None:
    """What is not installed, or None."""
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        return "no Chromium is installed (Debian: apt-get install chromium chromium-driver)"
    return None if shutil.which("chromedriver") else "no chromedriver is installed (Debian: chromium-driver)"


class Browser:
    """A page in a browser that remembers every request it sent and every error it had."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.requests: list[str] = []
        self.problems: list[str] = []

    def open(self, url: str) -> None:
        self.driver.get(url)

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, scheme: str) -> None:
        """What the system prefers: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def text(self) -> str:
        return str(self.js("return document.body.innerText"))

    def until(self, condition: str | Callable[[], Any], seconds: float = 15) -> Any:
        """Waits for a JavaScript expression, or a function, to be true; returns its value."""
        ask = condition if callable(condition) else lambda: self.js(f"return {condition}")
        last = time.monotonic() + seconds
        while not (value := ask()):
            if time.monotonic() > last:
                raise AssertionError(f"not within {seconds} s: {condition}\n{self.text()[:1500]}")
            time.sleep(0.05)
        return value

    def settled(self) -> None:
        """Waits until the page's script has run and its pictures have arrived."""
        self.until(
            "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
            " && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')"
        )
        self.until(
            "[...document.images].filter((i) => i.loading !== 'lazy' || i.getBoundingClientRect().top < innerHeight)"
            ".every((i) => i.complete)"
        )

    def watched(self) -> Browser:
        """Takes over what the browser logged since the last time."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            method, details = message["method"], message["params"]
            if method == "Network.requestWillBeSent":
                self.requests.append(details["request"]["url"])
            elif method == "Network.webSocketCreated":
                self.requests.append(details["url"])
        for entry in self.driver.get_log("browser"):
            if entry["level"] == "SEVERE":
                self.problems.append(entry["message"])
        return self

    def strangers(self) -> set[str]:
        """Hosts other than loopback that the page asked for anything."""
        hosts = {
            urlsplit(url).hostname for url in self.requests if urlsplit(url).scheme in ("http", "https", "ws", "wss")
        }
        return {str(host) for host in hosts - {"127.0.0.1", "localhost"}}


@contextmanager
def browser(width: int = 1400, height: int = 1000) -> Iterator[Browser]:
    """A browser with a profile of its own, for as long as the `with` block lasts."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = Options()
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
        driver = webdriver.Chrome(options=options, service=Service(str(Path(shutil.which("chromedriver") or ""))))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
