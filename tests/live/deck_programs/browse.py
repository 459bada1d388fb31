"""Opens pages in headless Chromium and prints, as JSON, what a user would find: run with a folder for its profile and
the paths of the pages.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1200,900",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves this machine
    f"--user-data-dir={sys.argv[1]}",
)


def chrome() -> Chrome:
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    return Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def tabs(browser: Chrome) -> list[Any]:
    found: list[Any] = browser.find_elements(By.CSS_SELECTOR, "[role=tab]")
    return found


def state(browser: Chrome) -> dict[str, Any]:
    """Which tab is chosen and which panel shows, by number; the title."""
    chosen = [at for at, tab in enumerate(tabs(browser)) if tab.get_attribute("aria-selected") == "true"]
    panels = browser.find_elements(By.CSS_SELECTOR, "[role=tabpanel]")
    shown = [at for at, panel in enumerate(panels) if panel.is_displayed()]
    focused = browser.switch_to.active_element.get_attribute("id")
    return {"chosen": chosen, "shown": shown, "focused": focused}


def pressed(browser: Chrome, key: str) -> dict[str, Any]:
    browser.switch_to.active_element.send_keys(key)
    return state(browser)


def in_frame(browser: Chrome, frame: Any) -> dict[str, Any]:
    """What a frame shows, after clicks on all that could lead away."""
    sandbox = frame.get_attribute("sandbox")
    browser.switch_to.frame(frame)
    try:
        if sandbox == "allow-scripts" and browser.find_elements(By.ID, "figure"):
            WebDriverWait(browser, 30).until(lambda b: b.find_elements(By.CSS_SELECTOR, ".main-svg"))
        text = browser.find_element(By.TAG_NAME, "body").text
        lines = browser.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace")
        for link in browser.find_elements(By.CSS_SELECTOR, "a[href], button"):
            with suppress(WebDriverException):  # hidden, or in another's way
                link.click()
        return {"sandbox": sandbox, "text": text, "lines": len(lines)}
    finally:
        browser.switch_to.default_content()


def panel(browser: Chrome, number: int) -> dict[str, Any]:
    """What one tab shows."""
    tab = tabs(browser)[number]
    tab.click()
    section = browser.find_elements(By.CSS_SELECTOR, "[role=tabpanel]")[number]
    images = section.find_elements(By.TAG_NAME, "img")
    frames = section.find_elements(By.TAG_NAME, "iframe")
    return {
        "name": tab.text,
        "state": state(browser),
        "text": section.text,
        "widths": [image.get_property("naturalWidth") for image in images],
        "cells": [cell.text for cell in section.find_elements(By.CSS_SELECTOR, "td")],
        "frames": [in_frame(browser, frame) for frame in frames],
    }


def page(browser: Chrome, path: str) -> dict[str, Any]:
    browser.get(Path(path).as_uri())
    title = browser.title
    first = state(browser)
    panels = [panel(browser, number) for number in range(len(tabs(browser)))]
    tabs(browser)[0].click()
    keys = [pressed(browser, key) for key in (Keys.ARROW_RIGHT, Keys.END, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.HOME)]
    return {
        "title": [title, browser.title],
        "url": browser.current_url,
        "windows": len(browser.window_handles),
        "first": first,
        "keys": keys,
        "panels": panels,
    }


with chrome() as browser:
    found = [page(browser, path) for path in sys.argv[2:]]
    print(json.dumps(found))
    print(json.dumps([entry["message"] for entry in browser.get_log("browser")]), file=sys.stderr)
