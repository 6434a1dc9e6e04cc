"""The report: one file that needs no network, and looks like a page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import replay_bags as rb

from seg_perception.replay.run import replay_bag
from seg_perception.replay.summary import summarize, write_report

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


@pytest.fixture(scope='module')
def page(tiny_model, tmp_path_factory):
    """A report with truth, a reference and two models: every section is there."""
    folder = tmp_path_factory.mktemp('report')
    rows = rb.drive(5)
    bag = rb.write(folder / 'a <b> & c', rows)
    truth = folder / 'truth'
    truth.mkdir()
    for index in range(5):
        stamp = rb.START_NS + index * rb.PERIOD_NS
        cv2.imwrite(str(truth / f'{stamp}.png'), rb.scene(index + 2 * (index == 3)))
    options = rb.options(tiny_model, truth=(str(truth),), reference=str(tiny_model))
    both = type(options)(**{**vars(options), 'models': options.models * 2})
    result = replay_bag(both, bag, folder / 'out')
    report = summarize([result])
    written = write_report(report, folder / 'out', {result['bag']: folder / 'out/pictures'})
    return report, written


def test_the_json_carries_the_numbers_of_the_page(page):
    report, (json_path, html_path) = page
    assert json.loads(json_path.read_text()) == json.loads(json.dumps(report))
    html = html_path.read_text()
    model = report['models'][0]
    for key in ('miou', 'drivable_iou', 'boundary_iou', 'agreement', 'flicker', 'ece'):
        assert f'{100 * model[key]:.1f}' in html, key
    for name in ('wall', 'road', 'sky'):
        assert f'{100 * model["iou"][name]:.1f}' in html


def test_the_page_needs_no_network_and_escapes_names(page):
    _, (_, html_path) = page
    html = html_path.read_text()
    for address in re.findall(r'(?:src|href|xlink:href)="([^"]*)"', html):
        assert address.startswith(('data:', '#')), address
    assert not re.search(r'url\((?!#)', html)
    assert '@import' not in html
    assert 'a <b>' not in html
    assert 'a &lt;b&gt; &amp; c' in html
    assert '<script' not in html
    assert html.count('<svg') >= 6


def test_a_replay_of_nothing_is_reported_too(tiny_model, tmp_path):
    """Not one picture decodes, or Ctrl-C came before the first."""
    broken = rb.png(rb.picture(rb.scene()), rb.START_NS)
    del broken.data[30:]
    bag = rb.write(tmp_path / 'in', [('/camera/image_raw/compressed', broken, rb.START_NS)])
    for name, stopping in (('broken', lambda: False), ('stopped', lambda: True)):
        result = replay_bag(rb.options(tiny_model), bag, tmp_path / name, stopping=stopping)
        report = summarize([result])
        _, html = write_report(report, tmp_path / name, {result['bag']: tmp_path / name})
        assert report['models'][0]['miou'] is None
        assert report['frames']['undecodable'] == (name == 'broken')
        assert 'Replay report' in html.read_text()


def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), '')
    if not found:
        pytest.skip(f'needs a browser to look at the page with: one of {", ".join(BROWSERS)}')
    return found


#: A page in both themes at once: a frame's theme is that of the element it lies in.
FRAMES = """<!doctype html><meta charset="utf-8"><body style="margin: 0">
<style>iframe {{ float: left; width: 1240px; height: 2400px; border: 0 }}</style>
<iframe src="{0}" style="color-scheme: light"></iframe>
<iframe src="{0}" style="color-scheme: dark"></iframe>"""


@pytest.fixture(scope='module')
def shown(page, tmp_path_factory):
    """What a headless browser shows in light and in dark, uint8 [h, w, 3] BGR each."""
    folder, html = tmp_path_factory.mktemp('browser'), page[1][1]
    (folder / 'both.html').write_text(FRAMES.format(html.as_uri()))
    path = folder / 'page.png'
    command = [browser(), '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars']
    command += [f'--user-data-dir={folder / "profile"}', '--window-size=2480,2400']
    command += [f'--screenshot={path}', (folder / 'both.html').as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert path.is_file(), done.stderr.decode(errors='replace')[-2000:]
    both = cv2.imread(str(path))
    return {'light': both[:, :1240], 'dark': both[:, 1240:]}


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_a_browser_shows_it_in_light_and_dark(shown, theme):
    picture = shown[theme]
    background = picture[5, 5].mean()
    assert background > 230 if theme == 'light' else background < 40
    # Text stands out from the ground wherever there is something.
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(int)
    assert np.count_nonzero(abs(grey - background) > 100) > 5000
    # The chart's lines are in the first model's colour of this theme.
    blue, green, red = {'light': (235, 111, 31), 'dark': (254, 168, 110)}[theme]
    near = np.abs(picture.astype(int) - (blue, green, red)).max(axis=2) < 30
    assert near.sum() > 200
