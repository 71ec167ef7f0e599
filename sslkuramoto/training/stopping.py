"""Ctrl-C and SIGTERM ask a run to stop after the step it is in, so that it can save and be continued later."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class StopRequest:
    """Listens while it is entered; outside the main thread, where signals cannot be caught, it hears nothing.

    Attributes:
        made: whether the run was asked to stop.
    """

    def __init__(self) -> None:
        self.made = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.made and number == signal.SIGINT:  # a second Ctrl-C does not wait for the step to end
            raise KeyboardInterrupt
        self.made = True
