"""Many bags: the numbers of one process, failures kept apart, and the command line."""

from __future__ import annotations

import json
import os

import pytest
import replay_bags as rb

from seg_perception.cli import main
from seg_perception.core.errors import SourceError
from seg_perception.replay import fleet
from seg_perception.replay.interrupt import StopOnSignal
from seg_perception.replay.run import replay_bag
from seg_perception.replay.summary import summarize

BAGS = 20


@pytest.fixture(scope='module')
def bags(tmp_path_factory):
    """Recordings and their truth in several formats, and one that is no recording."""
    folder = tmp_path_factory.mktemp('fleet')
    for number in range(BAGS):
        rows = rb.drive(2, seed=3 * number, make=rb.png if number % 2 else rb.raw)
        for index in range(2):
            stamp = rb.START_NS + index * rb.PERIOD_NS
            truth = rb.scene(3 * number + index + number % 3)
            rows.append(('/truth', rb.image_message(truth, 'mono8', rb.header(stamp)), stamp))
        name = 'drive' if number < 2 else f'drive_{number}'  # two of one name
        rb.write(folder / str(number % 4) / name, rows, 'sqlite3' if number % 3 else 'mcap')
    broken = folder / '1/broken.mcap'
    broken.write_bytes(b'no bag at all')
    return folder


def numbers(report):
    """All of a report but times and places."""
    return json.dumps(
        [{k: v for k, v in m.items() if k not in ('latency_ms', 'timeline')}
         | {'timeline': [{k: v for k, v in row.items() if k != 'ms'} for row in m['timeline']]}
         for m in report['models']]
    )  # fmt: skip


def test_processes_give_the_numbers_of_one(bags, tiny_model, tmp_path):
    options = rb.options(tiny_model, truth=('topic:/truth',), temporal=False)
    found = fleet.find_bags([str(bags)])
    assert len(found) == BAGS + 1
    tasks = fleet.tasks_for(found, tmp_path / 'many')
    assert len({task.output for task in tasks}) == BAGS + 1
    told = []
    with StopOnSignal() as stop:
        outcomes = fleet.run_here(options, tasks, 2, told.append, stop)
    assert len(told) == len(outcomes) == BAGS + 1
    failed = [outcome for outcome in outcomes if outcome.error]
    assert [outcome.task.bag.name for outcome in failed] == ['broken.mcap']
    assert 'not a readable rosbag2' in failed[0].error
    alone = [
        replay_bag(options, bag, tmp_path / 'one' / str(i))
        for i, bag in enumerate(found)
        if bag.name != 'broken.mcap'
    ]
    merged = summarize([outcome.result for outcome in outcomes if outcome.result])
    assert numbers(merged) == numbers(summarize(alone))
    assert merged['models'][0]['scored'] == 2 * BAGS
    pixels = sum(map(sum, merged['models'][0]['confusion']))
    assert pixels == 2 * BAGS * rb.WIDTH * rb.HEIGHT


def test_a_process_that_dies_takes_no_other_bag_with_it(bags, tiny_model, tmp_path, monkeypatch):
    """run_task is replaced where the workers look it up: by its importable name."""
    found = [bag for bag in fleet.find_bags([str(bags)]) if bag.is_dir()][:3]
    tasks = fleet.tasks_for(found, tmp_path)
    monkeypatch.setattr(fleet, 'run_task', die_on_the_second)
    monkeypatch.setenv('SECOND', str(tasks[1].bag))
    with StopOnSignal() as stop:
        outcomes = fleet.run_here(rb.options(tiny_model), tasks, 1, lambda _: None, stop)
    by_bag = {outcome.task.bag: outcome for outcome in outcomes}
    assert 'process died' in by_bag[tasks[1].bag].error
    assert [bool(by_bag[t.bag].result) for t in tasks] == [True, False, True]


def die_on_the_second(options, task):
    if str(task.bag) == os.environ['SECOND']:
        os._exit(7)
    return fleet.Outcome(task, {'bag': str(task.bag)})


def test_ray_gives_the_numbers_of_one(bags, tiny_model, tmp_path):
    pytest.importorskip('ray', reason='needs ray: pip install ray')
    options = rb.options(tiny_model, truth=('topic:/truth',), temporal=False)
    found = [bag for bag in fleet.find_bags([str(bags / '0')]) if bag.is_dir()][:2]
    with StopOnSignal() as stop:
        tasks = fleet.tasks_for(found, tmp_path / 'ray')
        outcomes = fleet.run_on_ray(options, tasks, 'local', lambda _: None, stop)
    alone = [replay_bag(options, bag, tmp_path / str(i)) for i, bag in enumerate(found)]
    assert numbers(summarize([o.result for o in outcomes])) == numbers(summarize(alone))


def test_bags_are_found_by_folder_file_and_pattern(tmp_path):
    for name in ('a', 'b/c', 'b/d'):
        rb.write(tmp_path / name, rb.drive(1))
    split = tmp_path / 'split'
    split.mkdir()
    for part in range(2):
        (split / f'split_{part}.mcap').write_bytes(b'')
    names = [bag.name for bag in fleet.find_bags([str(tmp_path)])]
    assert names == ['a', 'c', 'd', 'split']
    assert [b.name for b in fleet.find_bags([f'{tmp_path}/b/*', str(tmp_path / 'b')])] == [
        'c',
        'd',
    ]
    assert fleet.find_bags([str(tmp_path / 'a/a.mcap')])[0].name == 'a.mcap'
    with pytest.raises(SourceError, match='no bag there'):
        fleet.find_bags([str(tmp_path / 'nothing*')])


def command(tiny_model, *words) -> list[str]:
    parameters = ['-p', 'provider:=cpu', '-p', 'threads:=1', '-p', 'grid.resolution:=0.5']
    return ['replay', *map(str, words), '--model', str(tiny_model), *parameters]


def test_the_command_writes_everything_and_judges(tmp_path, tiny_model, capsys):
    rows = rb.drive(3)
    rows.append(('/truth', rb.image_message(rb.scene(0), 'mono8', rb.header(rb.START_NS)), 1))
    bag = rb.write(tmp_path / 'in', rows)
    out = tmp_path / 'out'
    truth = ['--truth', 'topic:/truth', '--output', out]
    assert main(command(tiny_model, bag, *truth, '--fail-under', 'miou=0.8,road=0.9')) == 0
    assert 'miou' in capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {
        'bag', 'pictures', 'report.html', 'report.json', 'result.json',
    }  # fmt: skip
    assert main(command(tiny_model, bag, *truth)) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert main(command(tiny_model, bag, *truth, '--fail-under', 'raod=1')) == 2
    assert "no class 'raod'" in capsys.readouterr().err
    assert main(command(tiny_model, out, *truth)) == 2
    assert 'nothing but what was written' in capsys.readouterr().err
    gate = ['--resume', '--fail-under', 'miou=0.999']
    assert main(command(tiny_model, bag, *truth, *gate)) == 1
    assert 'is below 0.999' in capsys.readouterr().err


def test_the_command_over_a_folder_lists_failures(tmp_path, tiny_model, capsys):
    rb.write(tmp_path / 'bags/good', rb.drive(2))
    (tmp_path / 'bags/bad.db3').write_bytes(b'nothing')
    words = [tmp_path / 'bags', '--output', tmp_path / 'out', '--no-temporal', '--jobs', 1]
    assert main(command(tiny_model, *words)) == 2
    assert 'bad.db3' in capsys.readouterr().err
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert [bag['name'] for bag in report['bags']] == ['good']
    assert report['failures'][0]['bag'].endswith('bad.db3')
    assert 'bad.db3' in (tmp_path / 'out/report.html').read_text()
    assert (tmp_path / 'out/bags/good/bag/metadata.yaml').is_file()
