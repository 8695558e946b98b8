"""What can wait until the window has nothing else to do: surfaces, tables; one step at a time."""

import qt

PAUSE_MS = 20
"""Between two steps: the views are drawn meanwhile."""


class Idle:
    """Steps by name, each in a turn of its own of the event loop; what was asked last holds."""

    def __init__(self, panel):
        self._steps = {}
        self._timer = qt.QTimer()
        self._timer.interval = PAUSE_MS
        self._timer.timeout.connect(panel.guarded(self.step))

    @property
    def isBusy(self):
        """Whether anything is still to be done."""
        return bool(self._steps)

    def later(self, name, action):
        """Do this when all that was asked before is done."""
        self._steps.pop(name, None)
        self._steps[name] = action
        self._timer.start()

    def step(self):
        """Do the next."""
        name = next(iter(self._steps), None)
        action = self._steps.pop(name, None)
        if not self._steps:
            self._timer.stop()
        if action:
            action()

    def finish(self):
        """Do all of it now."""
        while self._steps:
            self.step()

    def forget(self):
        """Do none of it: what it was for is gone."""
        self._steps.clear()
        self._timer.stop()
