import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    'modules',
    [
        'seg_perception.nodes.instance_node, seg_perception.nodes.panoptic_node',
        'seg_perception.nodes.image_source_node',
        'seg_perception.evaluation.commands, seg_perception.training.commands',
    ],
)
def test_who_makes_no_grid_waits_for_no_compiler(modules):
    program = f'import sys, {modules}; sys.exit("numba" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', program], timeout=60).returncode == 0
