"""The managed life of a node that turns streams of messages into others."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from typing import Any, Protocol

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.timer import Timer

from seg_perception.core.errors import ParameterError, SegPerceptionError
from seg_perception.nodes.input_stream import InputStream
from seg_perception.ros import parameter_scheme
from seg_perception.ros.health import HealthMonitor, Level
from seg_perception.ros.worker import LatestWorker

#: Seconds between looks at listeners, offered QoS and staleness.
HOUSEKEEPING_PERIOD = 0.1
#: Seconds for which a frame may be in work before it counts as hung, at least.
HUNG_AFTER = 1.0
#: Seconds that the frame in work is given at a deactivation, and at the end of the process:
#: launch waits 5 s for that.
LAST_FRAME = 5.0
LAST_FRAME_AT_END = 2.0

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


class Wanted(Protocol):
    """Which outputs somebody listens to; each node's own has a flag for each."""

    @property
    def anything(self) -> bool: ...


class Outputs(Protocol):
    """The publishers of one configured node."""

    def wanted(self, *, lazy: bool) -> Wanted: ...

    def destroy(self) -> None: ...


class Handler(Protocol):
    """What the worker does with each job; `handle` and `failed` run in its thread.

    `parameters` are those in force; setting them may raise what speaks against them.
    """

    parameters: Any

    def open(self) -> None: ...

    def close(self) -> None: ...

    def handle(self, job: Any) -> None: ...

    def failed(self, job: Any, error: Exception) -> None: ...


class ManagedNode(LifecycleNode, ABC):
    """Life cycle, parameters, worker and watch (design.ros2.org/articles/node_lifecycle).

    unconfigured -> configure: reads parameters, makes its parts and topics -> activate:
    subscribes (lazily) and works -> deactivate: withdraws what must not stay in force ->
    cleanup. With `autostart` it goes to active by itself. A configure that fails leaves the
    node unconfigured and alive, with the reason in the log and in diagnostics.

    A node of this kind says in ``_make`` what it consists of: ``_outputs``, ``_handler``,
    ``_streams`` (inputs subscribed while somebody listens, whose silence is a problem) and
    ``_companions`` (inputs subscribed all the while it is active). The other hooks, empty here,
    say what it does at each step beyond that.

    Args:
        name: of the node.
        parameters: the dataclass of its parameters, derived from ManagedParameters.
        task: what it does, for diagnostics and the worker's thread.
    """

    #: What a hung frame means, for people.
    HUNG = 'the work is too slow here, or it hangs'
    _outputs: Outputs

    def __init__(self, name: str, parameters: type, task: str, **node_options: Any) -> None:
        super().__init__(name, **node_options)
        self.exit_code: int | None = None
        self._parameters_class = parameters
        self._task = task
        self._refused = parameter_scheme.declare_all(self, parameters)
        self._health = HealthMonitor(self, task)
        self._configured = False
        self._active = False
        self._handler: Handler | None = None
        self._streams: list[InputStream] = []
        self._companions: list[InputStream] = []
        self._next_due: dict[str, float] = {}
        self._timer: Timer | None = None
        self._patience = LAST_FRAME
        self._left_behind: LatestWorker | None = None
        self.add_on_set_parameters_callback(
            parameter_scheme.make_validator(
                self, parameters, lambda: self._configured, self._try_parameters
            )
        )
        self.add_post_set_parameters_callback(self._take_parameters)

    # --------------------------------------------------------------- hooks of each kind

    @abstractmethod
    def _make(self, parameters: Any) -> None:
        """Make `_outputs`, `_handler`, `_streams`; whatever it raises fails the configure."""

    def _announce(self) -> None:
        """Publish at activation what is latched."""

    def _withdraw(self) -> None:
        """Take back, before the frame in work is waited for, what must not stay in force."""

    def _farewell(self) -> None:
        """Do what is left once the worker has stopped and outputs still are."""

    def _watch(self, parameters: Any, wanted: Any) -> None:
        """Look after what ages, ten times a second."""

    def _wants(self, stream: InputStream, wanted: Any) -> bool:
        """Whether a stream is needed for what somebody listens to."""
        return wanted.anything

    def _needs(self, companion: InputStream, wanted: Any) -> bool:
        """Whether a companion that is missing is a problem now."""
        return True

    def _try_parameters(self, parameters: Any) -> None:
        """Raise what speaks against new parameters beyond their own ranges."""

    def _use_parameters(self, old: Any, new: Any) -> None:
        """Hand new parameters to parts other than the handler."""

    # ------------------------------------------------------------- life of the process

    def begin(self) -> None:
        """Configure and activate by itself when `autostart` is set."""
        if not self.get_parameter('autostart').value:
            return
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def end(self) -> None:
        """Withdraw what is in force while the context still lets us."""
        self._patience = LAST_FRAME_AT_END
        if self._active:
            self.trigger_deactivate()
        if self._configured:
            self.trigger_cleanup()

    @property
    def still_working(self) -> bool:
        """Whether a frame is in work that a deactivation did not wait for."""
        return self._left_behind is not None and self._left_behind.busy

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
        self._make(parameter_scheme.read(self, self._parameters_class))
        self._worker = LatestWorker(self._handler.handle, self._task, self._handler.failed)
        self._health.set_state('inactive')

    def _start_working(self) -> None:
        if not self._worker.start():
            raise SegPerceptionError(
                'the frame from before the deactivation is still in work: wait for it, or '
                'cleanup and configure the node again'
            )
        self._active = True
        self._handler.open()
        self._announce()
        for companion in self._companions:
            companion.open()
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
        for stream in (*self._streams, *self._companions):
            stream.close()
        self._withdraw()
        self._handler.close()
        waiting = self._worker.dropped
        stopped = self._worker.stop(self._patience)
        self._health.dropped(self._worker.dropped - waiting)
        if not stopped:
            self._left_behind = self._worker
            self.get_logger().warning('the last frame is still in work, going on without it')
        self._farewell()
        self._health.forget()
        self._health.set_state('inactive')

    def _release(self) -> None:
        """Let go of all that configure made, also of a configure that failed half-way."""
        outputs = self.__dict__.pop('_outputs', None)
        if outputs is not None:
            outputs.destroy()
        self.__dict__.pop('_worker', None)
        self._handler = None
        self._streams = []
        self._companions = []
        self._configured = False
        self._health.set_state('unconfigured')

    # ------------------------------------------------------------------------- input

    def _submit(self, job: Any, now: float) -> None:
        """Give a job to the worker, unless `max_rate` leaves it out.

        Jobs of several cameras say which by their attribute `camera`; each has its own turn.
        """
        camera = getattr(job, 'camera', '')
        rate = self._handler.parameters.max_rate
        if rate > 0.0:
            due = self._next_due.get(camera, 0.0)
            if now < due:
                self._health.skipped()
                return
            # On the beat as long as frames come, so that rounding does not lower the rate.
            self._next_due[camera] = (due if now - due < 1.0 / rate else now) + 1.0 / rate
        if self._worker.submit(job, camera):
            self._health.dropped()

    def _housekeeping(self) -> None:
        """Follow listeners, offered QoS and the age of what was last said."""
        parameters = self._handler.parameters
        wanted = self._outputs.wanted(lazy=parameters.lazy)
        try:
            self._follow_listeners(wanted)
        except Exception as error:  # a qos_override that rclpy refuses, say
            self._tell('housekeeping', error)
        else:
            self._health.clear('housekeeping')
        self._watch(parameters, wanted)
        self._watch_silence(parameters.stale_after)
        self._watch_worker(max(parameters.stale_after, HUNG_AFTER))

    def _follow_listeners(self, wanted: Wanted) -> None:
        working = any(stream.is_open for stream in self._streams)
        if not wanted.anything and working:
            for stream in self._streams:
                stream.close()
            self._health.forget()  # no frame will come to show that something is well again
        for stream in self._streams:
            needed = wanted.anything and self._wants(stream, wanted)
            if needed and not stream.is_open:
                stream.open()
            elif not needed and stream.is_open:
                stream.close()
                self._health.clear(stream.topic_key)
        self._health.set_state('active' if wanted.anything else 'idle: nobody listens')
        for stream in self._streams:
            self._check_input(stream)
        for companion in self._companions:
            if self._needs(companion, wanted):
                self._check_input(companion)
            else:
                self._health.clear(companion.topic_key)

    def _check_input(self, stream: InputStream) -> None:
        problem = stream.check()
        if problem is None:
            self._health.clear(stream.topic_key)
        else:
            level = Level.WARN if problem.waiting else Level.ERROR
            self._health.problem(stream.topic_key, problem.text, level)

    def _watch_silence(self, limit: float) -> None:
        silent = [
            stream.silence(limit, nobody_publishes=self._health.has(stream.topic_key))
            for stream in self._streams
        ]
        text = '; '.join(filter(None, silent))
        if text:
            self._health.problem('stale', text)
        else:
            self._health.clear('stale')

    def _watch_worker(self, limit: float) -> None:
        if self._worker.busy_for > limit:
            self._health.problem(
                'hung', f'a frame has been in work for more than {limit:g} s: {self.HUNG}'
            )
        else:
            self._health.clear('hung')

    # -------------------------------------------------------------------- parameters

    def _take_parameters(self, changes: list[Parameter]) -> None:
        for change in changes:
            self._refused.pop(change.name, None)
        if self._handler is None:
            return
        old = self._handler.parameters
        new = parameter_scheme.read(self, self._parameters_class)
        self._handler.parameters = new
        if new.max_rate != old.max_rate:
            self._next_due.clear()
        self._use_parameters(old, new)
