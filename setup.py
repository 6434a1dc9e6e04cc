"""ament_python package; metadata lives here (see pyproject.toml for why)."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'seg_perception'


def share(folder: str) -> list[tuple[str, list[str]]]:
    """Every file below `folder`, laid out the same below share/seg_perception."""
    by_parent: dict[str, list[str]] = {}
    for path in sorted(Path(folder).rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            by_parent.setdefault(str(path.parent), []).append(str(path))
    return [(f'share/{NAME}/{parent}', files) for parent, files in by_parent.items()]


setup(
    name=NAME,
    version='0.1.0',
    description='Semantic segmentation and a drivable occupancy grid from a camera, for ROS 2',
    license='Apache-2.0',
    maintainer='seg_perception maintainers',
    maintainer_email='seg_perception@example.org',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={f'{NAME}.replay': ['*.j2']},
    python_requires='>=3.10',
    # rclpy and the message packages come with ROS; the pip install names them in
    # requirements/runtime.txt, so that a ROS machine's own are never shadowed.
    install_requires=['setuptools', 'numpy', 'numba', 'PyYAML', 'tqdm'],
    extras_require={
        'runtime': ['onnxruntime', 'openvino', 'opencv-python-headless', 'edgefirst-tracker'],
        'gpu': ['onnxruntime-gpu[cuda,cudnn]', 'opencv-python-headless', 'edgefirst-tracker'],
        'bags': ['rosbags'],
        'replay': ['rosbags', 'matplotlib', 'jinja2'],
        'view': ['rosbags', 'rerun-sdk'],
        'import': ['onnx'],
        'simulation': ['panda3d'],
        'train': [
            *('torch', 'torchvision', 'segmentation_models_pytorch', 'albumentations'),
            'pycocotools',
            *('transformers', 'safetensors', 'huggingface_hub', 'tensorboard'),
        ],
        'cluster': ['ray'],
    },
    zip_safe=True,
    entry_points={'console_scripts': ['seg-perception = seg_perception.cli:main']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        # pip ignores install_scripts, so the executables that `ros2 run` and launch look for
        # are shell wrappers, installed alike by pip and colcon.
        (f'lib/{NAME}', sorted(glob('resource/lib/*'))),
        *share('launch'),
        *share('config'),
        *share('models'),
    ],
)
