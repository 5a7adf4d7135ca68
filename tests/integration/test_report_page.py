"""The report in a real browser: it runs, draws, answers the pointer, fits a phone and follows the colour scheme."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_run import write_run
from numpy.typing import NDArray
from PIL import Image

from medmo_ray.reports.build import build_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]


class Browser:
    """Chromium without a window, with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, page: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
        assert CHROMIUM is not None
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={self.folder / 'profile'}", *flags, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    def dom(self, page: Path, *flags: str) -> tuple[str, list[str]]:
        """The document after its scripts ran, and what was said on the console."""
        done = self.run(page, "--dump-dom", *flags)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    def picture(self, page: Path, width: int, height: int, *flags: str) -> NDArray[np.float64]:
        """A screenshot, [height, width, 3]."""
        file = self.folder / "picture.png"
        self.run(page, f"--screenshot={file}", f"--window-size={width},{height}", *flags)
        return np.asarray(Image.open(file).convert("RGB"), dtype=float)

    def measured(self, page: Path, width: int, script: str) -> Any:
        """What `script` returns inside the page, shown in a frame of this width; the page's policy is lifted for it."""
        source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
        probe = f"<script>parent.postMessage((() => {{ {script} }})(), '*')</script></body>"
        (self.folder / "probed.html").write_text(source.replace("</body>", probe), encoding="utf-8")
        outer = self.folder / "frame.html"
        outer.write_text(
            "<script>addEventListener('message', e => document.documentElement.dataset.answer = JSON.stringify(e.data))</script>"
            f"<iframe src='probed.html' style='border:0;width:{width}px;height:900px'></iframe>"
        )
        dom, said = self.dom(outer)
        assert said == []
        (answer,) = re.findall(r'data-answer="(.*?)"', dom)
        return json.loads(unescape(answer))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(write_run(tmp_path_factory.mktemp("runs") / "night", num_steps=120, num_images=14))


def test_an_error_on_the_console_would_be_seen(browser: Browser) -> None:
    broken = browser.folder / "broken.html"
    broken.write_text("<script>console.error('one'); undefined.two</script>")
    _, said = browser.dom(broken)
    assert len(said) == 2 and "one" in said[0] and "TypeError" in said[1]


def test_the_script_runs_without_a_word_on_the_console(browser: Browser, page: Path) -> None:
    dom, said = browser.dom(page)
    assert said == []
    assert '<html lang="en" data-ready="true">' in dom


def test_foreign_script_does_not_run(browser: Browser, page: Path) -> None:
    invaded = browser.folder / "invaded.html"
    source = page.read_text(encoding="utf-8")
    invaded.write_text(
        source.replace("</main>", "<script>document.title = 'invaded'</script></main>"), encoding="utf-8"
    )
    dom, said = browser.dom(invaded)
    assert "<title>night · medmo-ray</title>" in dom
    assert len(said) == 1 and "Content Security Policy" in said[0]


def test_every_curve_is_drawn_inside_its_chart(browser: Browser, page: Path) -> None:
    found = browser.measured(
        page, 1280,
        """for (const fold of document.querySelectorAll("details")) fold.open = true;
        return [...document.querySelectorAll("svg.chart")].filter(svg => svg.checkVisibility()).map(svg => {
            const frame = svg.getBoundingClientRect();
            return {wide: frame.width, high: frame.height, curves: [...svg.querySelectorAll("path.line")].map(path => {
                const box = path.getBoundingClientRect();
                return box.width > 0.7 * frame.width && box.left >= frame.left && box.right <= frame.right + 1
                    && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
            })};
        });""",
    )  # fmt: skip
    assert len(found) >= 9 + 18 + 1 + 14  # figures 1-9 with their details, figure 10, what else stage 4 records
    assert all(chart["wide"] > 300 and chart["high"] > 150 for chart in found)
    assert all(chart["curves"] and all(chart["curves"]) for chart in found)


def test_the_pointer_and_the_keys_show_values(browser: Browser, page: Path) -> None:
    told = browser.measured(
        page, 1280,
        """const chart = document.querySelector("#stage4 figure.wide svg.chart"), tip = document.getElementById("tip");
        const data = JSON.parse(chart.dataset.chart), frame = chart.getBoundingClientRect(), seen = [];
        const at = data.px[30] * frame.width / chart.viewBox.baseVal.width + frame.left;
        chart.dispatchEvent(new PointerEvent("pointermove", {clientX: at, clientY: frame.top + 50}));
        seen.push([tip.hidden, tip.innerText]);
        chart.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
        seen.push([tip.hidden, tip.innerText]);
        chart.dispatchEvent(new PointerEvent("pointerleave"));
        seen.push([tip.hidden, ""]);
        return {seen, at: data.at, text: data.lines.map(line => line.text)};""",
    )  # fmt: skip
    (pointed, keyed, left) = told["seen"]
    for (hidden, text), index in ((pointed, 30), (keyed, 31)):
        mean, trend = (values[index] for values in told["text"])
        assert (hidden, text.split()) == (
            False,
            f"step {index + 1} mean box reward: {mean} smoothed trend: {trend}".split(),
        )
    assert told["at"][30] == "step 31" and left[0] is True


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_at_any_width(browser: Browser, page: Path, width: int) -> None:
    found = browser.measured(
        page, width,
        """const wide = document.documentElement.clientWidth;
        const inside = element => element.closest(".scroll, nav, pre, svg");
        return {wide, page: document.documentElement.scrollWidth,
            out: [...document.body.querySelectorAll("*")].filter(element => !inside(element) && element.checkVisibility()
                && element.getBoundingClientRect().right > wide + 1).map(element => element.outerHTML.slice(0, 120)),
            small: [...document.querySelectorAll("svg.chart")].filter(svg => svg.checkVisibility())
                .filter(svg => svg.getBoundingClientRect().width < 0.6 * svg.viewBox.baseVal.width).length};""",
    )  # fmt: skip
    assert found == {"wide": width, "page": width, "out": [], "small": 0}


def test_boxes_can_be_hidden_to_see_the_image(browser: Browser, page: Path) -> None:
    counted = browser.measured(
        page, 1280,
        """const seen = () => ["truth", "predicted"].map(kind => [...document.querySelectorAll(`.overlay .${kind}`)]
            .filter(box => getComputedStyle(box).display !== "none").length > 0);
        const states = [seen()];
        document.getElementById("show-predicted").click(); states.push(seen());
        document.getElementById("show-true").click(); states.push(seen());
        return states;""",
    )  # fmt: skip
    assert counted == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize(("flags", "darkest", "brightest"), [((), 200, 256), ((DARK,), 0, 60)])
def test_the_picture_follows_the_colour_scheme(
    browser: Browser, page: Path, flags: tuple[str, ...], darkest: int, brightest: int
) -> None:
    picture = browser.picture(page, 1280, 2000, *flags)
    assert picture.shape == (2000, 1280, 3)
    assert darkest <= np.median(picture) < brightest
    assert len(np.unique(picture @ (1, 256, 65536))) > 200
    # Curves and text reach every quarter of the height.
    assert all(quarter.std() > 5 for quarter in np.array_split(picture, 4))
