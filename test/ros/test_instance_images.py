"""Instance ids are found by the image's stamp, waited for a little, and refused when broken."""

import threading

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_perception.ros.images import image_message
from seg_perception.ros.instance_images import KEPT, InstanceImages
from seg_perception.ros.messages import stamp_from_ns

IDS = np.array([[0, 1, 2], [300, 65535, 0]], np.uint16)


def message(stamp: int = 5, ids: np.ndarray = IDS) -> Image:
    return image_message(ids, 'mono16', Header(stamp=stamp_from_ns(stamp)))


def test_found_by_stamp_and_only_the_newest_are_kept():
    images = InstanceImages()
    for stamp in range(KEPT + 2):
        images.take(message(stamp, IDS + np.uint16(stamp)))
    assert images.at(0, 0.0) is None
    np.testing.assert_array_equal(images.at(KEPT, 0.0), IDS + np.uint16(KEPT))
    images.clear()
    assert images.at(KEPT, 0.0) is None


def test_waits_for_them():
    images = InstanceImages()
    threading.Timer(0.05, images.take, [message(7)]).start()
    np.testing.assert_array_equal(images.at(7, 5.0), IDS)


def test_what_is_no_picture_of_ids_is_told():
    images = InstanceImages()
    wrong = message()
    wrong.encoding = 'mono8'
    images.take(wrong)
    assert 'mono16' in images.problem
    images.take(message())
    assert images.problem == ''
    short = message()
    short.data = short.data[:-1]
    images.take(short)
    assert 'data' in images.problem
