"""Camera image in; semantic mask, confidence and drivable grid out: a managed ROS 2 node."""

from __future__ import annotations

import sys
import time
import traceback
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.core.errors import ParameterError, SegPerceptionError
from seg_perception.nodes.frame_handler import FrameHandler, Job
from seg_perception.nodes.grid_guard import GridGuard
from seg_perception.nodes.outputs import SegmentationOutputs, Wanted
from seg_perception.nodes.run import run
from seg_perception.ros import optional
from seg_perception.ros import parameters as ros_parameters
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.health import HealthMonitor, Level
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.subscriptions import MatchedSubscription
from seg_perception.ros.worker import LatestWorker
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.pipeline import Pipeline
from seg_perception.runtime.semantic import SemanticSegmenter

#: Seconds between looks at listeners, offered QoS and staleness.
HOUSEKEEPING_PERIOD = 0.1
#: Seconds for which a frame may be in work before the network counts as hung, at least.
HUNG_AFTER = 1.0
#: Image size the network is warmed up at; another size costs one slow first frame at most.
WARM_UP_SIZE = (1280, 720)

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


class SegmentationNode(LifecycleNode):
    """Managed node around the pipeline (life cycle: design.ros2.org/articles/node_lifecycle).

    unconfigured -> configure: reads parameters, loads and warms up the model, makes topics
    -> activate: subscribes (lazily) and works -> deactivate: withdraws the grid -> cleanup.
    With `autostart` it goes to active by itself. A configure that fails leaves the node
    unconfigured and alive, with the reason in the log and in diagnostics.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__('segmentation_node', **node_options)
        self.exit_code: int | None = None
        self._refused = ros_parameters.declare_all(self, SegmentationParameters)
        self._health = HealthMonitor(self, 'segmentation')
        self._configured = False
        self._active = False
        self._handler: FrameHandler | None = None
        self._next_due = 0.0
        self._last_image = 0.0
        self._seen_image = False
        self._timer: Timer | None = None
        self.add_on_set_parameters_callback(
            ros_parameters.make_validator(
                self, SegmentationParameters, lambda: self._configured, self._try_parameters
            )
        )
        self.add_post_set_parameters_callback(self._take_parameters)

    # ------------------------------------------------------------- life of the process

    def begin(self) -> None:
        """Configure and activate by itself when `autostart` is set."""
        if not self.get_parameter('autostart').value:
            return
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def end(self) -> None:
        """Withdraw the grid while the context still lets us."""
        if self._active:
            self.trigger_deactivate()
        if self._configured:
            self.trigger_cleanup()

    # ------------------------------------------------------------------- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._configure()
        except Exception as error:  # rclpy would swallow it without a word
            self._tell('configure', error)
            self._release()
            self._health.set_state('configure failed')
            return FAILURE
        self._health.clear('configure')
        self._configured = True
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        returned = super().on_activate(state)
        if returned != SUCCESS:
            return returned
        try:
            self._start_working()
        except Exception as error:
            self._stop_working()
            self._tell('activate', error)
            super().on_deactivate(state)
            return FAILURE
        self._health.clear('activate')
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_working()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_working()
        self._release()
        self.exit_code = 0
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured, from where it can be configured again."""
        self._stop_working()
        self._release()
        return SUCCESS

    def _tell(self, key: str, error: Exception) -> None:
        """Report what failed; what we did not foresee once, with where it was."""
        text = str(error)
        if not isinstance(error, SegPerceptionError):
            if self._health.has(key):
                return
            self.get_logger().error(traceback.format_exc())
            text = f'{type(error).__name__}: {error}'
        self._health.problem(key, text)

    def _configure(self) -> None:
        if self._refused:
            wrong = '; '.join(self._refused.values())
            raise ParameterError(f'{wrong}. Set it right, then configure')
        p = ros_parameters.read(self, SegmentationParameters)
        segmenter = SemanticSegmenter(
            Bundle.find(p.model),
            p.provider,
            threads=p.threads,
            precision=p.precision,
            input_size=p.network_size,
        )
        self._pipeline = Pipeline(segmenter, segmenter.labels.with_roles(p.class_roles))
        self.get_logger().info(
            f"model '{segmenter.bundle.name}' on {segmenter.provider}; warming up"
        )
        segmenter.warm_up(*WARM_UP_SIZE)
        self._extrinsics = Extrinsics(self, p)
        self._outputs = SegmentationOutputs(self, with_grid=p.grid_enabled)
        self._guard = GridGuard(
            self._outputs,
            self.get_clock(),
            stale_after=p.stale_after,
            spec=p.grid_spec,
            frame_id=p.grid_frame_id,
        )
        self._handler = FrameHandler(
            self, p, self._pipeline, self._outputs, self._guard, self._extrinsics, self._health
        )
        self._worker = LatestWorker(self._handler.handle, 'segmentation', self._handler.failed)
        self._subscribe(p)
        for provider, reason in segmenter.session.tried:
            self._health.set(f'not on {provider}', reason)
        if optional.vision_msgs is None:
            self.get_logger().warning(
                'vision_msgs is not installed: no ~/label_info, the same facts go out as JSON on '
                '~/label_info_json'
            )
        self._health.set_model(segmenter.bundle.name, segmenter.provider)
        self._health.set_state('inactive')

    def _subscribe(self, p: SegmentationParameters) -> None:
        compressed = p.image_transport == 'compressed'
        base = self.resolve_topic_name('image')
        self._image = MatchedSubscription(
            self,
            CompressedImage if compressed else Image,
            f'{base}/compressed' if compressed else 'image',
            self._on_image,
            reliability=p.input_reliability,
        )
        self._camera_info = MatchedSubscription(
            self, CameraInfo, 'camera_info', self._on_camera_info, reliability=p.input_reliability
        )

    def _start_working(self) -> None:
        if not self._worker.start():
            raise SegPerceptionError(
                'the frame from before the deactivation is still in work: wait for it, or '
                'cleanup and configure the node again'
            )
        self._active = True
        self._handler.open()
        self._outputs.publish_labels(self._pipeline.labels)
        if self._outputs.grid is not None:
            self._guard.open()
        self._camera_info.open()
        self._health.set_state('active')
        # The steady clock: a paused simulation must stop neither work nor watch.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(HOUSEKEEPING_PERIOD, self._housekeeping, clock=steady)
        self._housekeeping()

    def _stop_working(self) -> None:
        if not self._active:
            return
        self._active = False
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        self._image.close()
        self._camera_info.close()
        # Before the wait for the frame in work: until then the latched grid would stay in force.
        if self._outputs.grid is not None:
            self._guard.close()
        self._handler.close()
        waiting = self._worker.dropped
        stopped = self._worker.stop()
        self._health.dropped(self._worker.dropped - waiting)
        if not stopped:
            self.get_logger().warning('the last frame is still in work, going on without it')
        if not self._outputs.grid_arrived():
            self.get_logger().warning('a reader of the grid has not acknowledged that it ended')
        self._health.forget()
        self._health.set_state('inactive')

    def _release(self) -> None:
        """Let go of all that configure made, also of a configure that failed half-way."""
        outputs = self.__dict__.pop('_outputs', None)
        if outputs is not None:
            outputs.destroy()
        extrinsics = self.__dict__.pop('_extrinsics', None)
        if extrinsics is not None:
            extrinsics.close()
        for name in ('_handler', '_pipeline', '_guard', '_worker', '_image', '_camera_info'):
            self.__dict__.pop(name, None)
        self._handler = None
        self._configured = False
        self._health.set_state('unconfigured')

    # ------------------------------------------------------------------------- input

    def _on_image(self, message: Image | CompressedImage) -> None:
        now = time.monotonic()
        self._last_image = now
        self._seen_image = True
        self._health.input()
        rate = self._handler.parameters.max_rate
        if rate > 0.0:
            if now < self._next_due:
                self._health.skipped()
                return
            # On the beat as long as pictures come, so that rounding does not lower the rate.
            late = now - self._next_due
            self._next_due = (self._next_due if late < 1.0 / rate else now) + 1.0 / rate
        if self._worker.submit(Job(message, now)):
            self._health.dropped()

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._handler.set_camera_info(message)

    def _housekeeping(self) -> None:
        """Follow listeners, offered QoS and the age of what was last said."""
        p = self._handler.parameters
        wanted = self._outputs.wanted(lazy=p.lazy)
        try:
            self._follow_listeners(wanted)
        except Exception as error:  # a qos_override that rclpy refuses, say
            self._tell('housekeeping', error)
        else:
            self._health.clear('housekeeping')
        self._watch_staleness(p, wanted.grid)
        self._watch_worker(p)

    def _follow_listeners(self, wanted: Wanted) -> None:
        if wanted.anything and not self._image.is_open:
            self._image.open()
            self._last_image = time.monotonic()
        elif not wanted.anything and self._image.is_open:
            self._image.close()
            self._health.forget()  # no frame will come to show that something is well again
        self._health.set_state('active' if self._image.is_open else 'idle: nobody listens')
        self._check_input('image_topic', self._image)
        if wanted.calibration:
            self._check_input('camera_info_topic', self._camera_info)
        else:
            self._health.clear('camera_info_topic')

    def _check_input(self, key: str, subscription: MatchedSubscription) -> None:
        problem = subscription.check()
        if problem is None:
            self._health.clear(key)
        else:
            level = Level.WARN if problem.waiting else Level.ERROR
            self._health.problem(key, problem.text, level)

    def _watch_staleness(self, p: SegmentationParameters, grid_wanted: bool) -> None:
        if self._outputs.grid is not None:
            self._guard.expect(grid_wanted and self._image.is_open)
            self._guard.watch()
        silent = time.monotonic() - self._last_image
        # Before the first picture it is enough to say that nobody publishes.
        awaited = self._seen_image or not self._health.has('image_topic')
        if self._image.is_open and awaited and silent > p.stale_after:
            self._health.problem(
                'stale',
                f'no image on {self._image.topic} for more than {p.stale_after} s: the grid is '
                'unknown until the camera is back',
            )
        else:
            self._health.clear('stale')

    def _watch_worker(self, p: SegmentationParameters) -> None:
        limit = max(p.stale_after, HUNG_AFTER)
        if self._worker.busy_for > limit:
            self._health.problem(
                'hung',
                f'a frame has been in work for more than {limit:g} s: the network is too slow '
                'here, or it hangs; the grid is unknown meanwhile',
            )
        else:
            self._health.clear('hung')

    # -------------------------------------------------------------------- parameters

    def _try_parameters(self, p: SegmentationParameters) -> None:
        """Raise what speaks against new parameters beyond their own ranges."""
        if self._handler is not None:
            self._pipeline.segmenter.labels.with_roles(p.class_roles)

    def _take_parameters(self, changes: list[Parameter]) -> None:
        for change in changes:
            self._refused.pop(change.name, None)
        if self._handler is None:
            return
        p = ros_parameters.read(self, SegmentationParameters)
        old = self._handler.parameters
        self._handler.parameters = p
        if p.max_rate != old.max_rate:
            self._next_due = 0.0
        self._extrinsics.set_parameters(p)
        self._guard.configure(
            stale_after=p.stale_after, spec=p.grid_spec, frame_id=p.grid_frame_id
        )
        if self._active and p.class_roles != old.class_roles:
            self._outputs.publish_labels(self._pipeline.labels)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable."""
    return run(SegmentationNode, args)


if __name__ == '__main__':
    sys.exit(main())
