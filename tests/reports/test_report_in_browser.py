"""The report in a real browser: nothing scrolls sideways, no error, every picture is shown.

It needs Chromium (`apt-get install chromium`).
"""

import json
import re
import shutil
import subprocess
from unittest import mock

import pytest
from report_parts import made_up, write_run

from simclr_tf.reports import page
from simclr_tf.reports.html import table

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.usefixtures("toy_encoder"),
]

# Shows a page in a frame of some width, and then writes what became of it.
_FRAME = """<!DOCTYPE html><body><script>
const frame = document.createElement("iframe");
frame.style.cssText = "width:{width}px;height:800px;border:0";
frame.src = "page.html";
frame.onload = () => {{
  const page = frame.contentDocument, images = [...page.images];
  const found = document.createElement("pre");
  found.textContent = JSON.stringify({{
    hidden: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    broken: images.filter(image => !image.complete || !image.naturalWidth).length,
    images: images.length,
  }});
  document.body.append(found);
}};
document.body.append(frame);
</script></body>"""


def shown(folder, text, width):
    """What a browser makes of a page that is `width` pixels wide, and what it complains of."""
    (folder / "page.html").write_text(text)
    (folder / "frame.html").write_text(_FRAME.format(width=width))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--allow-file-access-from-files", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=10000", f"file://{folder}/frame.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    found = re.search(r"<pre>(.*)</pre>", done.stdout)
    assert found, done.stderr
    return json.loads(found[1]), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, toy_encoder):
    folder = tmp_path_factory.mktemp("runs")
    command = f"python run.py --data_dir={'directory' * 20} --b"
    return [write_run(folder / name, command=command) for name in ("one" * 20, "two" * 20)]


@pytest.mark.parametrize("width", [320, 400, 800, 1000, 1400])
@pytest.mark.parametrize("number", [1, 2])
def test_it_fits_the_width_and_is_whole(tmp_path, runs, number, width):
    measured = made_up([0, 1, 2] * 6, [0, 1, 2] * 4, name="short and long " + "name" * 20)
    with mock.patch.object(page, "measure", lambda *arguments: measured):
        text = page.report([str(run) for run in runs[:number]], 60, lambda line: None)
    found, complaints = shown(tmp_path, text, width)
    assert found["hidden"] == found["broken"] == 0 and not complaints
    assert found["images"] == text.count("<img")


def test_the_browser_tells_of_what_is_wrong(tmp_path):
    text = table(["", "a"], [["x" * 200, "1"]])
    text += '<img src="data:image/png;base64,AAAA"><script>nothing.here</script>'
    found, complaints = shown(tmp_path, text, 400)
    assert found["hidden"] > 100 and found["broken"] == 1 and complaints
