#!/usr/bin/env python3
"""Opens the pages of inspect_attention in headless Chromium and looks at them as people do: by mouse, keyboard and touch.

    tests/browser/inspect_pages.py [--only REGEX] BIN_DIR [PICTURES]

Programs stand in BIN_DIR; screenshots go to the folder PICTURES; --only selects cases by name.

The numbers that hovering shows are compared with the matrices that inspect_attention --matrices writes as they were
computed. The last line is "N passed, N failed".
"""
import argparse
import array
import contextlib
import json
import math
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import traceback

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

EXPRESSION = "[MAX 2 9 [MIN 4 7 ] 0 [SM 3 8 1 [MED 5 6 2 ] ] 1 [MIN 9 8 7 ] 5 ]"
LISTOPS = ["--task", "listops", "--max-length", "64", "--width", "16", "--seed", "3"]
# Paramixer is not of the encoder's form, and the others differ in what they need to be small.
ATTENTIONS = {
    "softmax": [],
    "nystrom": ["--landmarks", "8", "--conv-kernel", "5"],
    "fsat": ["--lags", "9", "--columns", "4", "--fsat-window", "2"],
    "paramixer": [],
    "combiner": ["--combiner-pattern", "fixed"],
    "local": ["--local-window", "3"],
}


def read_safetensors(path):
    """{name: (shape, numbers)} of a file of float32 tensors."""
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", entry
        begin, end = entry["data_offsets"]
        tensors[name] = (entry["shape"], array.array("f", content[8 + length + begin : 8 + length + end]))
    return tensors


def entry(tensors, name, head, row, column):
    (_, rows, columns), numbers = tensors[name]
    return numbers[(head * rows + row) * columns + column]


def block_entries(tensors, name, head, rows, columns):
    return [entry(tensors, name, head, r, c) for r in range(*rows) for c in range(*columns)]


def number(text):
    """As the page writes it: "0.0123", "−1.2e−5", with a remark behind it."""
    return float(text.split(" ")[0].replace("−", "-"))


class Browser:
    def __init__(self):
        options = webdriver.ChromeOptions()
        for flag in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1500,1300"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options)

    def open(self, path):
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())

    def run(self, script, *args):
        return self.driver.execute_script(script, *args)

    def tip(self):
        return self.run("const t = document.getElementById('tip'); return t.hidden ? '' : t.innerText").split("\n")

    def errors(self):
        """What the console says, but for its advice to greys(), which reads canvases that the page only draws."""
        return [line["message"] for line in self.driver.get_log("browser") if "willReadFrequently" not in line["message"]]

    def requests(self):
        """Addresses that the page asked for, but for its own, which must be among them, and for data that it carries."""
        asked = []
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(message["params"]["request"]["url"])
        assert self.driver.current_url in asked, asked
        return [url for url in asked if url != self.driver.current_url and not url.startswith("data:")]

    def canvas(self, matrix="mixing"):
        return self.driver.find_element(By.CSS_SELECTOR, f"canvas[data-matrix='{matrix}']")

    def place(self, matrix, row, column):
        """Where the middle of a cell is in the window."""
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.canvas(matrix))
        script = """
          const [id, row, column] = arguments;
          for (const maps of shownMaps)
            for (const map of maps.maps)
              if (map.matrix.id === id) return maps.middleOf(map, row, column);"""
        return [round(x) for x in self.run(script, matrix, row, column)]

    def hover(self, matrix, row, column):
        x, y = self.place(matrix, row, column)
        builder = ActionBuilder(self.driver, duration=0)
        builder.pointer_action.move_to_location(x, y)
        builder.perform()
        return self.tip()

    def wheel(self, x, y, down, keys=0):
        """Turns the wheel where the pointer is; keys: 2 is Ctrl."""
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent",
                                    {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": down, "modifiers": keys})

    def click(self, matrix, row, column):
        x, y = self.place(matrix, row, column)
        builder = ActionBuilder(self.driver, duration=0)
        builder.pointer_action.move_to_location(x, y).click()
        builder.perform()

    def until(self, script, what):
        """Waits for what is shown a little later, such as the end of a scroll."""
        WebDriverWait(self.driver, 5).until(lambda _: self.run(script), what)

    def greys(self, matrix):
        """How light each cell of a map is drawn, row by row: of its canvas's dots, beside what hatches its diagonal."""
        script = """
          for (const maps of shownMaps)
            for (const map of maps.maps) {
              if (map.matrix.id !== arguments[0]) continue;
              maps.select(null);
              const { canvas, matrix } = map, box = canvas.getBoundingClientRect(), greys = [];
              const c = canvas.getContext("2d"), { width, data } = c.getImageData(0, 0, canvas.width, canvas.height);
              const [x0, y0] = maps.middleOf(map, 0, 0), [x1, y1] = maps.middleOf(map, 1, 1), dots = canvas.width / box.width;
              const beside = Math.min(x1 - x0, y1 - y0) < 4 ? 0 : .25;  // small cells have no hatches
              for (let row = 0; row < matrix.rows; ++row)
                for (let column = 0; column < matrix.columns; ++column) {
                  const x = x0 - box.left + (column - beside) * (x1 - x0), y = y0 - box.top + (row - beside) * (y1 - y0);
                  const i = 4 * (Math.floor(y * dots) * width + Math.floor(x * dots));
                  greys.push(.3 * data[i] + .59 * data[i + 1] + .11 * data[i + 2]);
                }
              return greys;
            }"""
        return self.run(script, matrix)

    def grey_screenshot(self, places):
        """How light places of the window are on a screenshot that has been made grey."""
        script = """
          const [picture, places, done] = arguments, image = new Image();
          image.onload = () => {
            const canvas = document.createElement("canvas"), c = canvas.getContext("2d");
            [canvas.width, canvas.height] = [image.width, image.height];
            c.filter = "grayscale(1)";
            c.drawImage(image, 0, 0);
            done(places.map(([x, y]) => c.getImageData(Math.floor(x), Math.floor(y), 1, 1).data[0]));
          };
          image.src = "data:image/png;base64," + picture;"""
        return self.driver.execute_async_script(script, self.driver.get_screenshot_as_base64(), places)

    def press(self, label, name):
        for group in self.driver.find_elements(By.CSS_SELECTOR, f".choice[aria-label='{label}']"):
            for button in group.find_elements(By.TAG_NAME, "button"):
                if button.text == name:
                    self.run("arguments[0].scrollIntoView({block: 'center'})", button)
                    button.click()
                    return
        raise AssertionError(f"there is no button {name} of {label}")

    def emulate(self, command, **values):
        self.driver.execute_cdp_cmd(f"Emulation.{command}", values)

    def touch(self, kind, points):
        numbered = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": numbered})


class Pages:
    """Makes pages in a folder, each once."""

    def __init__(self, programs, folder):
        self.program = pathlib.Path(programs) / "inspect_attention"
        self.folder = pathlib.Path(folder)

    def make(self, name, args):
        page, matrices = self.folder / f"{name}.html", self.folder / f"{name}.safetensors"
        if not page.exists():
            subprocess.run([self.program, "--out", page, "--matrices", matrices, *args], check=True, stdout=subprocess.DEVNULL)
        return page, read_safetensors(matrices)

    def of(self, attention):
        return self.make(attention, [*LISTOPS, "--attention", attention, *ATTENTIONS[attention], EXPRESSION])


def close(found, expected, spread, what):
    """Four digits, and a cell's sixteen bits."""
    assert abs(found - expected) <= 6e-4 * abs(expected) + spread / 60000 + 1e-12, f"{what}: the page says {found}, the library {expected}"


def compared(tensors, layer):
    """What softmax's matrix is compared with: without a convolution beside it."""
    alone = f"layer{layer}.without_convolution"
    return alone if alone in tensors else f"layer{layer}.mixing"


def spread_of_difference(tensors, layer):
    """Of each head: a picture of differences has a scale of its own."""
    (heads, rows, columns), mixing = tensors[compared(tensors, layer)]
    exact, size = tensors[f"layer{layer}.softmax"][1], rows * columns
    gaps = [[mixing[i] - exact[i] for i in range(h * size, (h + 1) * size)] for h in range(heads)]
    return [max(of_head) - min(of_head) for of_head in gaps]


def check_clean(browser):
    assert browser.errors() == [], browser.errors()
    assert browser.requests() == [], browser.requests()


def check_hover(browser, tensors, layer, head, cells):
    """Hovers over cells that are entries; each must be named and have the numbers of the library."""
    tokens = browser.run("return data.tokens")
    has_softmax = f"layer{layer}.softmax" in tensors
    spread = {m: (max(t[1]) - min(t[1])) for m, t in tensors.items()}
    gaps = spread_of_difference(tensors, layer) if has_softmax else None
    for row, column in cells:
        lines = browser.hover("mixing", row, column)
        assert lines[0].startswith(f"query {row} ") and tokens[row] in lines[0], lines
        assert lines[1].startswith(f"key {column} ") and tokens[column] in lines[1], lines
        said = dict(line.split(": ") for line in lines[2:])
        mixing = entry(tensors, f"layer{layer}.mixing", head, row, column)
        close(number(said["Mixing matrix"]), mixing, spread[f"layer{layer}.mixing"], (row, column))
        assert ("Exact softmax" in said) == has_softmax
        if has_softmax:
            exact = entry(tensors, f"layer{layer}.softmax", head, row, column)
            close(number(said["Exact softmax"]), exact, spread[f"layer{layer}.softmax"], (row, column))
            gap = entry(tensors, compared(tensors, layer), head, row, column) - exact
            close(number(said["Difference"]), gap, gaps[head], (row, column))


def page_of_each_attention(browser, pages, attention):
    page, tensors = pages.of(attention)
    browser.open(page)
    heads, n, _ = tensors["layer1.mixing"][0]
    words = browser.driver.find_element(By.CSS_SELECTOR, "header .words").text
    assert all(word in words for word in ["query", "key", "head", "logit"]), words
    canvas = browser.canvas()
    assert [canvas.get_attribute("data-rows"), canvas.get_attribute("data-columns")] == [str(n), str(n)]
    assert browser.run("return [...shownMaps][0].maps[0].matrix.cells.length") == n * n
    assert len(browser.run("return data.tokens")) == n
    layers = len([name for name in tensors if name.endswith(".mixing")])
    for layer in range(1, layers + 1):
        if layers > 1:
            browser.press("Layer", str(layer))
        for head in range(heads):
            if heads > 1:
                browser.press("Head", str(head + 1))
            check_hover(browser, tensors, layer, head, [(0, 0), (n - 1, n - 1), (5, 17), (20, 3)])
    for group in browser.driver.find_elements(By.CSS_SELECTOR, ".choice"):  # each choice there is, on and off again
        buttons = group.find_elements(By.TAG_NAME, "button")
        if group.get_attribute("aria-label") in ("Layer", "Head"):
            continue
        for button in [*buttons, buttons[0]]:
            browser.run("arguments[0].scrollIntoView({block: 'center'})", button)
            button.click()
    check_clean(browser)


def blocks(browser, pages):
    """A page that may have few bytes shows means and largest entries of blocks."""
    page, tensors = pages.make("blocks", [*LISTOPS, "--attention", "nystrom", "--landmarks", "8", "--megabytes", "0.13", EXPRESSION])
    assert page.stat().st_size <= 1.3e5
    browser.open(page)
    n = tensors["layer1.mixing"][0][1]
    block = browser.run("return data.pictures[0].rows.block")
    cells = -(-n // block)
    assert block > 1 and browser.canvas().get_attribute("data-rows") == str(cells)
    numbers = tensors["layer1.mixing"][1]
    for how in ["mean", "largest"]:
        browser.press("A cell shows", how)
        for row, column in [(0, 0), (1, 2), (cells - 1, cells - 1)]:
            lines = browser.hover("mixing", row, column)
            sides = [(i * block, min(n, (i + 1) * block)) for i in (row, column)]
            inside = block_entries(tensors, "layer1.mixing", 0, *sides)
            expected = sum(inside) / len(inside) if how == "mean" else max(inside, key=abs)
            shown = next(line for line in lines if line.startswith("Mixing matrix"))
            assert f"({how})" in shown, shown
            close(number(shown.split(": ")[1]), expected, max(numbers) - min(numbers), (how, row, column))
            exact = block_entries(tensors, "layer1.softmax", 0, *sides)
            gaps = [a - b for a, b in zip(block_entries(tensors, "layer1.without_convolution", 0, *sides), exact)]
            expected = sum(gaps) / len(gaps) if how == "mean" else max(gaps, key=abs)
            shown = next(line for line in lines if line.startswith("Difference"))
            close(number(shown.split(": ")[1]), expected, 4 * (max(numbers) - min(numbers)), ("difference", how, row, column))
    check_clean(browser)


def signed_blocks(browser, pages):
    """Unasked, blocks with both signs show their largest entries, and the strongest keys are these whatever cells show."""
    page, tensors = long_page(pages, "paramixer")
    browser.open(page)
    values = tensors["layer1.mixing"][1]
    n, block = 2000, browser.run("return data.pictures[0].rows.block")
    low, high = min(values), max(values)
    assert block > 1 and low < 0 < high
    shown = browser.run("const { matrix } = [...shownMaps][0].maps[0]; return [matrix.how, matrix.low, matrix.high]")
    assert shown[0] == "largest", shown
    for found, expected in [(shown[1], low), (shown[2], high)]:
        close(found, expected, high - low, "the ends of the scale")
    for how in ["automatic", "mean"]:
        browser.press("A cell shows", how)
        title = browser.driver.find_element(By.CSS_SELECTOR, ".row h3").text
        first, last = map(int, re.search(r"query (\d+) to (\d+) ", title).groups())
        assert last - first + 1 == block, title
        best = max(range(first * n, (last + 1) * n), key=lambda i: abs(values[i]))
        bar = browser.driver.find_element(By.CSS_SELECTOR, ".row li").text.split("\n")
        key = [int(x) for x in re.match(r"(\d+) to (\d+) ", bar[0]).groups()]
        assert key[0] <= best % n <= key[1], (bar, best % n)
        close(number(bar[-1]), values[best], high - low, bar)
    check_clean(browser)
    browser.open(image_page(pages)[0])  # neither has negative weights, but their difference has
    hows = browser.run("return [...shownMaps][0].maps.map(({ matrix }) => [matrix.id, matrix.how])")
    assert dict(hows) == {"mixing": "largest", "softmax": "largest", "difference": "largest"}, hows
    check_clean(browser)


def small_file(browser, pages):
    """Many heads in few bytes: curves are means of pieces, with a band; a limit that cannot be kept is said to be broken."""
    expression = "[MAX " + " ".join(str(i * 7 % 10) for i in range(1000)) + " ]"
    args = ["--task", "listops", "--attention", "softmax", "--layers", "1", "--heads", "2", "--width", "16", expression]
    page, tensors = pages.make("long", ["--megabytes", "0.6", *args])
    assert page.stat().st_size <= 6e5
    browser.open(page)
    hows = browser.run("return [...shownMaps][0].maps.map(({ matrix }) => matrix.how)")
    assert set(hows) == {"mean"}, hows  # softmax's weights, and a difference that is rounding
    chart = next(figure for figure in browser.driver.find_elements(By.CSS_SELECTOR, "#head figure.chart")
                 if figure.find_element(By.TAG_NAME, "figcaption").text == "Entropy of each row")
    step = browser.run("return data.layers[0].heads[0].sections[1].parts[1].charts[1].lines[0].step")
    assert step > 1 and f"Each point is the mean of {step} values; the band goes" in chart.text, chart.text
    assert chart.find_elements(By.CSS_SELECTOR, "polygon.band")
    svg = chart.find_element(By.TAG_NAME, "svg")
    browser.run("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", svg)
    svg.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    n = tensors["layer1.mixing"][0][1]
    entropy = []
    for row in range(2 * step, 3 * step):
        shares = [abs(entry(tensors, "layer1.mixing", 0, row, c)) for c in range(n)]
        entropy.append(-sum(p / sum(shares) * math.log2(p / sum(shares)) for p in shares if p))
    where, said = browser.tip()[:2]
    assert where == f"query {2 * step} to {3 * step - 1}", where
    mean, least, largest = [float(x) for x in re.findall(r"[\d.]+", said)]
    for found, expected in [(mean, sum(entropy) / step), (least, min(entropy)), (largest, max(entropy))]:
        assert abs(found - expected) <= 2e-3 * expected, (said, expected)
    check_clean(browser)
    page, _ = pages.make("broken limit", [*LISTOPS, "--megabytes", "0.1", "--attention", "nystrom", "--layers", "3", "--heads", "8", EXPRESSION])
    browser.open(page)
    facts = browser.driver.find_element(By.CSS_SELECTOR, ".facts").text
    size = page.stat().st_size
    said = f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"
    assert f"larger than the 100 kB that were asked for: {said}" in facts, (facts, size)
    n, rows = len(browser.run("return data.tokens")), int(browser.canvas().get_attribute("data-rows"))
    assert rows == math.ceil(n / math.ceil(n / 8)), (n, rows)
    check_clean(browser)


def long_expression(positions):
    """A sum of so many tokens."""
    return "[SM " + " ".join(str(i * i % 10) for i in range(positions - 2)) + " ]"


def long_page(pages, attention, options=()):
    return pages.make(f"long_{attention}", ["--task", "listops", "--max-length", "2000", "--width", "8", "--heads", "1", "--layers", "1", "--seed", "2",
                                            "--attention", attention, *options, long_expression(2000)])


LONG = {"nystrom": ["--landmarks", "16"], "paramixer": []}


def long(browser, pages):
    """2000 positions: blocks of them, in no more than 15 MB."""
    for attention, options in LONG.items():
        page, tensors = long_page(pages, attention, options)
        assert tensors["layer1.mixing"][0] == [1, 2000, 2000]
        assert page.stat().st_size <= 15e6, page.stat().st_size
        browser.open(page)
        assert browser.hover("mixing", 3, 3)[0].startswith("query ")
        check_clean(browser)


def thin(browser, pages):
    """Cells that are crowded along one side alone are averaged along that one, and do not bleed along the other."""
    script = """
      const [id] = arguments, maps = [...shownMaps].find(maps => maps.maps.some(map => map.matrix.id === id));
      const map = maps.maps.find(map => map.matrix.id === id), { canvas, matrix } = map, box = canvas.getBoundingClientRect();
      const [x0, y0] = maps.middleOf(map, 0, 0), [x1, y1] = maps.middleOf(map, 1, 1), sides = [x1 - x0, y1 - y0];
      const start = [x0 - box.left - sides[0] / 2, y0 - box.top - sides[1] / 2], cells = [matrix.columns, matrix.rows];
      const greys = (canvas, x, y, width, height) => {
        const { data } = canvas.getContext("2d").getImageData(x, y, width, height), found = [];
        for (let i = 0; i < data.length; i += 4) found.push(.3 * data[i] + .59 * data[i + 1] + .11 * data[i + 2]);
        return found;
      };
      const crowded = sides[0] < 1 ? 0 : 1, free = 1 - crowded, lines = [];
      for (let k = 0; k < cells[free]; ++k) {  // a line of cells along the crowded side: as it is, and as it is drawn, dot by dot
        const at = [0, 0], size = [1, 1], on = [0, 0], dots = [1, 1];
        [at[free], size[crowded]] = [k, cells[crowded]];
        on[free] = Math.ceil(start[free] + k * sides[free]) + 1;
        dots[free] = Math.floor(start[free] + (k + 1) * sides[free]) - 1 - on[free];
        on[crowded] = Math.ceil(start[crowded]) + 1;
        dots[crowded] = Math.floor(cells[crowded] * sides[crowded]) - 3;
        if (dots[free] < 1) continue;
        const drawn = greys(canvas, ...on, ...dots), place = (i, j) => free === 0 ? i * dots[0] + j : j * dots[0] + i;
        const of = Array.from({ length: dots[crowded] }, (_, i) => Array.from({ length: dots[free] }, (_, j) => drawn[place(i, j)]));
        lines.push({ cells: greys(map.picture, ...at, ...size), drawn: of, begin: on[crowded] - start[crowded] });
      }
      return { sides, lines };"""
    browser.emulate("setDeviceMetricsOverride", width=1200, height=1300, deviceScaleFactor=1, mobile=False)
    try:
        for attention, matrix in [("paramixer", "links1"), ("nystrom", "F"), ("nystrom", "S")]:
            browser.open(long_page(pages, attention, LONG[attention])[0])
            found = browser.run(script, matrix)
            assert min(found["sides"]) < 1 < max(found["sides"]), (matrix, found["sides"])
            assert len(found["lines"]) > 10
            for line in found["lines"]:
                assert all(max(dots) - min(dots) < .01 for dots in line["drawn"]), matrix  # all along a cell the same
                drawn, cells = [dots[0] for dots in line["drawn"]], line["cells"]
                assert abs(mean(drawn) - mean(cells)) < 2, (matrix, mean(drawn), mean(cells))
                for i, grey in enumerate(drawn):
                    side = min(found["sides"])
                    near = [(line["begin"] + i + dot) / side for dot in (-1, 2)]  # one dot more at either end
                    around = cells[max(0, math.floor(near[0])) : math.ceil(near[1])]
                    assert min(around) - 1 <= grey <= max(around) + 1, (matrix, i, grey, around)
            check_clean(browser)
    finally:
        browser.emulate("clearDeviceMetricsOverride")


def keyboard(browser, pages):
    page, tensors = pages.of("nystrom")
    browser.open(page)
    canvas = browser.canvas()
    browser.run("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert browser.tip()[0].startswith("query 1 ") and browser.tip()[1].startswith("key 1 "), browser.tip()
    scale = "return [...shownMaps][0].scale"
    canvas.send_keys("+", "+")
    assert browser.run(scale) > 2
    canvas.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    assert browser.run("return [...shownMaps][0].left") > 0
    canvas.send_keys(Keys.NULL, "0")
    assert browser.run(scale) == 1
    canvas.send_keys(Keys.ENTER)
    strongest = browser.driver.find_element(By.CSS_SELECTOR, ".row h3").text
    assert "query 1 " in strongest, strongest
    n = tensors["layer1.mixing"][0][1]
    row = [entry(tensors, "layer1.mixing", 0, 1, c) for c in range(n)]
    best = max(range(n), key=lambda c: abs(row[c]))
    first = browser.driver.find_element(By.CSS_SELECTOR, ".row li .what").text
    assert first.startswith(f"{best} "), (first, best)
    canvas.send_keys(Keys.ESCAPE)
    assert browser.tip() == [""]
    assert browser.run("return [...shownMaps][0].cell") is None
    canvas.send_keys(Keys.TAB)
    assert browser.run("return document.activeElement.tagName") == "BUTTON"
    check_clean(browser)


def walking(browser, pages):
    """Curves, tokens and pixels say their numbers to keys and to a finger, too; a finger's tip stays when it is lifted."""
    page, _ = pages.of("combiner")
    tokens = "return [...data.sections[0].parts].find(part => part.type === 'tokens').values"

    def said(lines, i):
        assert lines[0].startswith(f"{i} ") and lines[1].startswith("gradient: "), lines
        close(number(lines[1].split(": ")[1]), gradients[i], 0, i)

    def find(css):
        element = browser.driver.find_element(By.CSS_SELECTOR, css)
        browser.run("arguments[0].scrollIntoView({block: 'center'})", element)
        return element

    def middle(element):
        return browser.run("const b = arguments[0].getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]", element)

    browser.open(page)
    gradients = browser.run(tokens)
    box = find(".tokens")
    browser.run("arguments[0].focus()", box)
    box.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    said(browser.tip(), 2)
    assert browser.run("return document.querySelector('.token.here').innerText") == browser.run("return data.tokens[2]")
    box.send_keys(Keys.END)
    said(browser.tip(), len(gradients) - 1)
    box.send_keys(Keys.HOME)
    said(browser.tip(), 0)
    box.send_keys(Keys.ESCAPE)
    assert browser.tip() == [""]
    chart = find("#head figure.chart svg")
    browser.run("arguments[0].focus()", chart)
    chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    third = browser.tip()
    assert third[0] == "number 3" and third[1].startswith("mixing: ") and third[2].startswith("softmax: "), third
    assert len(chart.find_elements(By.CSS_SELECTOR, ".spot circle")) == len(third) - 1 >= 2
    chart.send_keys(Keys.TAB)
    assert not chart.find_elements(By.CSS_SELECTOR, ".spot circle")
    with touching(browser, page):
        gradients = browser.run(tokens)
        for find_again, check in [("section .tokens .token:nth-child(3)", lambda lines: said(lines, 2)),
                                  ("#head figure.chart svg", lambda lines: number(lines[1].removeprefix("mixing: ")))]:
            browser.touch("touchStart", [middle(find(find_again))])
            browser.touch("touchEnd", [])
            check(browser.tip())
    check_clean(browser)
    browser.open(image_page(pages)[0])
    screen = find(".pixels .screen")
    browser.run("arguments[0].focus()", screen)
    screen.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert browser.tip()[0].startswith("row 1, column 1, grey 10"), browser.tip()
    assert browser.run("return document.activeElement.querySelector('.outline .line').getAttribute('d')") == "M1 1H2V2H1Z"
    check_clean(browser)


@contextlib.contextmanager
def touching(browser, page):
    """A page on a telephone."""
    browser.emulate("setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    browser.emulate("setTouchEmulationEnabled", enabled=True)
    try:
        browser.open(page)
        yield
    finally:
        browser.emulate("setTouchEmulationEnabled", enabled=False)
        browser.emulate("clearDeviceMetricsOverride")


def image_page(pages):
    picture = pages.folder / "grey.bin"
    picture.write_bytes(bytes((r * 7 + c * 3) % 256 for r in range(32) for c in range(32)))
    return pages.make("image", ["--task", "image", "--attention", "local", "--local-window", "40", "--layers", "1", "--width", "8",
                                "--heads", "1", "--megabytes", "1", "--file", picture])


def check_order(values, greys, rising, what):
    """Of two numbers the larger one is not drawn lighter, or, where they rise, not darker; the ends differ much."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    sign = 1 if rising else -1
    for a, b in zip(order, order[1:]):
        assert sign * (greys[b] - greys[a]) >= -1.5, (what, values[a], values[b], greys[a], greys[b])
    assert sign * (greys[order[-1]] - greys[order[0]]) > 60, (what, greys[order[0]], greys[order[-1]])


def mean(values):
    return sum(values) / len(values)


def colours(browser, pages):
    """What is drawn are the numbers: larger ones are darker, at the cells where they belong; each switch does what it says."""
    page, tensors = pages.of("nystrom")
    size = tensors["layer1.softmax"][0][1] ** 2
    values = {name: list(tensors[f"layer1.{name}"][1][:size]) for name in ["mixing", "softmax"]}  # of the first head
    magnitudes, negative = [abs(x) for x in values["mixing"]], [i for i in range(size) if values["mixing"][i] < 0]
    positive = [i for i in range(size) if values["mixing"][i] > 0]
    for theme in ["light", "dark"]:
        browser.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        browser.open(page)
        rising = theme == "dark"
        check_order(values["softmax"], browser.greys("softmax"), rising, theme)
        for side in [negative, positive]:
            greys = browser.greys("mixing")
            check_order([magnitudes[i] for i in side], [greys[i] for i in side], rising, theme)
        browser.press("Signs by", "lightness")
        check_order(values["mixing"], browser.greys("mixing"), rising, "lightness")
        check_clean(browser)
    browser.emulate("setEmulatedMedia", features=[])
    browser.open(page)
    root = browser.greys("softmax")
    browser.press("Scale", "linear")
    linear = browser.greys("softmax")
    browser.press("Scale", "four decades")
    decades = browser.greys("softmax")
    assert mean(linear) > mean(root) + 10 > mean(decades) + 20, [mean(linear), mean(root), mean(decades)]
    browser.press("Scale", "square root")
    both = browser.greys("mixing")
    for name, kept, gone in [("+", positive, negative), ("−", negative, positive)]:
        browser.press("Show", name)
        greys = browser.greys("mixing")
        assert all(greys[i] > 250 for i in gone) and all(abs(greys[i] - both[i]) < 2 for i in kept), name
    browser.press("Show", "both signs")
    own = tensors["layer1.without_convolution"][1][:size]  # it shares its colours with softmax, whose numbers go further
    largest = max(range(size), key=lambda i: abs(own[i]))
    assert abs(own[largest]) < .8 * max(values["softmax"])
    shared = browser.greys("alone")
    browser.press("Colours", "each its own")
    alone = browser.greys("alone")
    assert shared[largest] > 40 > alone[largest] and mean(alone) < mean(shared) - 3, (shared[largest], alone[largest])
    shown = browser.run("const m = [...shownMaps].flatMap(maps => maps.maps).find(map => map.matrix.id === 'A').matrix;"
                        "return [...m.cells].map((_, i) => m.at(0, i))")
    browser.press("Colours start at", "the least")
    greys = browser.greys("A")
    check_order(shown, greys, False, "A")
    assert max(greys) > 250 and min(greys) < 40, (min(greys), max(greys))
    check_clean(browser)


def grey_print(browser, pages):
    """Numbers of about the same size and different signs are told apart without hues: in maps, their key, bars, rows of an image."""
    page, tensors = pages.of("nystrom")
    browser.open(page)
    n = tensors["layer1.mixing"][0][1]
    values = list(tensors["layer1.mixing"][1][: n * n])
    low = min(range(n * n), key=lambda i: abs(values[i] + .17))
    high = min(range(n * n), key=lambda i: abs(values[i] - .17))
    assert -.19 < values[low] < -.15 and .15 < values[high] < .19

    def dots(cell, across):  # from its lower left corner on, over the line that hatches it
        x, y = browser.place("mixing", *divmod(cell, n))
        return [[x - across + k, y - 1] for k in range(2 * across)]

    hatched, plain = browser.grey_screenshot(dots(low, 5)), browser.grey_screenshot(dots(high, 5))
    assert max(hatched) - min(hatched) > 40 and max(plain) - min(plain) < 10, (hatched, plain)
    key = browser.run("const b = document.querySelector('canvas.key').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]")
    ends = [browser.grey_screenshot([[key[0] + key[2] * at + k, key[1] + key[3] / 2] for k in range(14)]) for at in (.15, .8)]
    assert max(ends[0]) - min(ends[0]) > 40 > 25 > max(ends[1]) - min(ends[1]), ends
    browser.press("Signs by", "lightness")
    (less,), (more,) = browser.grey_screenshot(dots(low, 5)[5:6]), browser.grey_screenshot(dots(high, 5)[5:6])
    assert less > 165 > 100 > more, (less, more)
    bars = browser.driver.find_elements(By.CSS_SELECTOR, ".row li")
    for bar in bars:
        drawn = "repeating" in browser.run("return getComputedStyle(arguments[0]).backgroundImage", bar.find_element(By.CSS_SELECTOR, ".bar"))
        assert drawn == bar.text.split()[-1].startswith("−"), bar.text
    assert any("−" in bar.text for bar in bars)
    assert "Hatched bars are negative." in browser.driver.find_element(By.CSS_SELECTOR, ".row").text
    check_clean(browser)
    browser.open(image_page(pages)[0])
    frames = browser.driver.find_elements(By.CSS_SELECTOR, ".row .screen .outline .line")
    block = browser.run("return data.pictures[0].rows.block")
    row = 512 // block  # in its middle
    browser.click("mixing", row, row)
    frame = browser.driver.find_element(By.CSS_SELECTOR, ".row .screen .outline .line").get_attribute("d")
    first = row * block
    assert len(frames) == 2 and frame.startswith(f"M{first % 32} {first // 32}H"), frame
    assert "The frame in a row's picture is the query itself" in browser.driver.find_element(By.CSS_SELECTOR, ".row").text
    check_clean(browser)


def small_cells(browser, pages):
    """Where cells are too small to hatch signs are told by lightness, unasked: on the screen, of fewer cells on paper."""
    args = ["--task", "listops", "--max-length", "256", "--width", "16", "--heads", "1", "--layers", "1", "--seed", "3",
            "--attention", "nystrom", "--landmarks", "8", "--conv-kernel", "5"]
    page, tensors = pages.make("small cells", [*args, long_expression(150)])
    values = tensors["layer1.mixing"][1]
    sides = [[i for i in range(len(values)) if sign * values[i] > 0] for sign in (-1, 1)]

    def words():
        return browser.run("return [...shownMaps][0].maps[0].range.textContent")

    for theme, way in [("light", "lighter"), ("dark", "darker")]:
        browser.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        browser.open(page)
        greys = browser.greys("mixing")
        check_order(values, greys, theme == "dark", theme)
        assert f"Negative numbers are {way} than 0" in words() and "too small to hatch" in words(), words()
        browser.run("[...shownMaps][0].zoom([...shownMaps][0].maps[0], 4, 100, 100); [...shownMaps][0].reset()")
        assert browser.greys("mixing") == greys
        browser.press("Signs by", "hue")
        hues = browser.greys("mixing")
        for side in sides:
            check_order([abs(values[i]) for i in side], [hues[i] for i in side], theme == "dark", (theme, "hue"))
        assert "in grey, “Signs by lightness” tells" in words(), words()
        browser.press("Signs by", "automatic")
        assert browser.greys("mixing") == greys
    browser.emulate("setEmulatedMedia", features=[])
    browser.run("[...shownMaps][0].zoom([...shownMaps][0].maps[0], 4, 100, 100)")
    assert browser.run("return [...shownMaps][0].maps[0].signs") == "lightness"
    page, tensors = pages.make("smaller on paper", [*args, long_expression(50)])
    browser.open(page)
    values = tensors["layer1.mixing"][1]
    signs = "return [...shownMaps][0].maps.map(map => map.signs)"
    assert set(browser.run(signs)) == {"hue"} and "hatched" in words(), (browser.run(signs), words())
    browser.emulate("setEmulatedMedia", media="print")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert set(browser.run(signs)) == {"lightness"}, browser.run(signs)
    check_order(values, browser.greys("mixing"), False, "print")
    browser.emulate("setEmulatedMedia", media="")
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert set(browser.run(signs)) == {"hue"}, browser.run(signs)
    check_clean(browser)


def watched_network(browser, pages):
    """A page that asks for something would be found out."""
    browser.open(pages.of("softmax")[0])
    browser.driver.execute_async_script("const i = new Image(), done = arguments[0]; i.onerror = () => done(); i.src = 'http://127.0.0.1:9/x.png'")
    assert browser.requests() == ["http://127.0.0.1:9/x.png"]


def comparing_heads(browser, pages):
    """Another layer or head by keyboard: the focus stays, and so do the kept cell, the zoom and the query."""
    page, tensors = pages.of("paramixer")
    browser.open(page)
    assert len([name for name in tensors if name.endswith(".mixing")]) > 1
    browser.click("mixing", 7, 3)
    browser.run("[...shownMaps][0].zoom([...shownMaps][0].maps[0], 2, 200, 200)")
    browser.press("Factor", "2")
    place = "return JSON.stringify([...shownMaps][0].place)"
    before = browser.run(place)
    for label in ["Layer", "Head"]:
        buttons = browser.driver.find_elements(By.CSS_SELECTOR, f".choice[aria-label='{label}'] button")
        if not buttons:
            continue
        scrolled = browser.run("arguments[0].focus(); return scrollY", buttons[1])
        buttons[1].send_keys(Keys.ENTER)
        assert browser.run("return document.activeElement === arguments[0] && arguments[0].ariaPressed === 'true'", buttons[1]), label
        assert buttons[0].get_attribute("aria-pressed") == "false"
        assert browser.run("return scrollY") == scrolled
        assert browser.run(place) == before, (browser.run(place), before)
        assert "query 7 " in browser.driver.find_element(By.CSS_SELECTOR, ".row h3").text
        pressed = browser.driver.find_element(By.CSS_SELECTOR, ".choice[aria-label='Factor'] [aria-pressed=true]").text
        assert pressed == "2", pressed
    heading = browser.driver.find_element(By.CSS_SELECTOR, "h2.title").text
    assert heading.startswith("Layer 2 "), heading
    check_clean(browser)


def wheel(browser, pages):
    """Scrolls the page over a map, up and down; zooms the map with Ctrl, or once it was clicked."""
    browser.open(pages.of("nystrom")[0])
    scale = "return [...shownMaps][0].scale"
    x, y = browser.place("mixing", 10, 10)
    start = browser.run("return scrollY")
    assert start > 0  # there is a way up, too
    browser.wheel(x, y, 150)
    browser.until(f"return scrollY > {start}", "the page to scroll down")
    x, y = browser.place("mixing", 10, 10)
    browser.wheel(x, y, -150)
    browser.until(f"return scrollY < {start}", "the page to scroll up")
    assert browser.run(scale) == 1
    x, y = browser.place("mixing", 10, 10)
    browser.wheel(x, y, -150, keys=2)
    browser.until("return [...shownMaps][0].scale > 1.2", "Ctrl and the wheel to zoom")
    browser.run("[...shownMaps][0].reset()")
    browser.click("mixing", 10, 10)
    browser.wheel(x, y, -150)
    browser.until("return [...shownMaps][0].scale > 1.2", "the wheel to zoom a map that was clicked")
    help_text = browser.driver.find_element(By.CSS_SELECTOR, ".row .soft").text
    assert "Ctrl and the wheel" in help_text, help_text
    check_clean(browser)


def touch(browser, pages):
    page, _ = pages.of("combiner")
    with touching(browser, page):
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        browser.canvas("softmax").location_once_scrolled_into_view
        bar = browser.run("const b = document.querySelector('.where').getBoundingClientRect(); return [scrollY, b.top, b.height, b.width]")
        assert bar[0] > 844 and bar[1] == 0 and bar[2] < 90 and bar[3] <= 390, bar  # layer and head stay, in a line or two
        x, y = browser.place("mixing", 10, 12)
        browser.touch("touchStart", [(x, y)])
        browser.touch("touchEnd", [])
        assert browser.tip()[0].startswith("query 10 ") and browser.tip()[1].startswith("key 12 "), browser.tip()
        browser.touch("touchStart", [(x - 20, y), (x + 20, y)])
        for step in range(1, 6):
            browser.touch("touchMove", [(x - 20 - 8 * step, y), (x + 20 + 8 * step, y)])
        browser.touch("touchEnd", [])
        scale = browser.run("return [...shownMaps][0].scale")
        assert 2 < scale < 4, scale
        left = browser.run("return [...shownMaps][0].left")
        browser.touch("touchStart", [(x, y)])
        for step in range(1, 6):
            browser.touch("touchMove", [(x - 10 * step, y)])
        browser.touch("touchEnd", [])
        assert browser.run("return [...shownMaps][0].left") > left
        check_clean(browser)


def dark(browser, pages):
    page, _ = pages.of("softmax")
    brightness = """
      const c = document.querySelector("canvas[data-matrix='difference']"), p = c.getContext('2d').getImageData(c.width - 3, c.height - 3, 1, 1).data;
      return [getComputedStyle(document.body).backgroundColor, p[0] + p[1] + p[2]]"""
    found = {}
    for theme in ["light", "dark"]:
        browser.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        browser.open(page)
        found[theme] = browser.run(brightness)
    browser.emulate("setEmulatedMedia", features=[])
    assert found["light"][0] == "rgb(255, 255, 255)" and found["dark"][0] != found["light"][0], found
    assert found["light"][1] > 600 > 300 > found["dark"][1], found  # almost no difference: the colour of the paper
    check_clean(browser)


def image(browser, pages):
    page, tensors = image_page(pages)
    assert tensors["layer1.mixing"][0] == [1, 1024, 1024]
    browser.open(page)
    lines = browser.hover("mixing", 3, 3)
    block = browser.run("return data.pictures[0].rows.block")
    assert lines[0].startswith(f"query {3 * block} to {4 * block - 1} "), lines
    assert browser.run("return data.details[33]") == "row 1, column 1, grey 10"
    label = browser.run("return [...shownMaps][0].maps[0].matrix.down.label(20)")
    assert label == f"{20 * block // 32},{20 * block % 32}…", label  # nothing that would be cut off
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, ".pixels canvas")) == 5
    check_clean(browser)


def unusual(browser, pages):
    """One token, a text with markup in it, one of a pair, a causal model, padding."""
    one, tensors = pages.make("one", [*LISTOPS, "--attention", "nystrom", "7"])
    assert tensors["layer1.mixing"][0][1:] == [1, 1]
    browser.open(one)
    close(number(browser.hover("mixing", 0, 0)[2].split(": ")[1]), entry(tensors, "layer1.mixing", 0, 0, 0), 0, "one")
    check_clean(browser)
    text = "</script><b>\"&\n\x01ü"
    page, _ = pages.make("text", ["--task", "text", "--attention", "softmax", "--causal", "--width", "16", "--max-length", "64", "--", text])
    browser.open(page)
    assert browser.run("return data.tokens.length") == len(text.encode())
    assert browser.run("return document.querySelectorAll('b').length") == 0
    assert number(browser.hover("mixing", 2, 9)[2].split(": ")[1]) == 0  # a later key
    check_clean(browser)
    page, _ = pages.make("pair", ["--task", "imdb-pairs", "--attention", "fsat", "--width", "16", "--max-length", "64", "--of-pair", "2", "--lags", "5",
                                  "--columns", "3", "--fsat-window", "1", "A fine film", "Dull"])
    browser.open(page)
    assert browser.run("return data.tokens.join('')") == "Dull" + "pad" * 7
    assert "query 2 ‘l’" in browser.driver.find_element(By.CSS_SELECTOR, ".row h3").text  # in the middle of the text, not in its padding
    check_clean(browser)


def pictures(browser, pages, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for attention in ATTENTIONS:
        browser.open(pages.of(attention)[0])
        browser.hover("mixing", 5, 17)
        height = browser.run("return document.documentElement.scrollHeight")
        browser.emulate("setDeviceMetricsOverride", width=1500, height=height, deviceScaleFactor=1, mobile=False)
        browser.driver.save_screenshot(str(folder / f"{attention}.png"))
        browser.emulate("clearDeviceMetricsOverride")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("programs")
    parser.add_argument("pictures", nargs="?")
    asked = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        browser, pages = Browser(), Pages(asked.programs, folder)
        cases = [(f"inspect pages: {name}", lambda name=name: page_of_each_attention(browser, pages, name)) for name in ATTENTIONS]
        cases += [(f"inspect pages: {case.__name__}", lambda case=case: case(browser, pages)) for case in [colours, grey_print, small_cells, watched_network, blocks, signed_blocks, small_file, long, thin, keyboard, walking, comparing_heads, wheel, touch, dark, image, unusual]]
        for name, case in cases:
            if not re.search(asked.only, name):
                continue
            try:
                case()
                passed += 1
                print(f"  passed: {name}", flush=True)
            except Exception:
                failed += 1
                print(f"  FAILED: {name}", flush=True)
                traceback.print_exc(file=sys.stdout)
        if asked.pictures:
            pictures(browser, pages, asked.pictures)
        browser.driver.quit()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
