"""One message at the top of the panel: what went wrong, what was written. No dialog."""

import slicer

STATUS_MS = 10000


class MessageSection:
    """A sentence, and its details to be copied."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._details = ""
        ui.copyDetailsButton.clicked.connect(panel.guarded(self.copyDetails))
        ui.closeMessageButton.clicked.connect(panel.guarded(self.close))
        ui.messageFrame.visible = False

    def show(self, message, details=""):
        """Show a message in place of the one before, where it is seen."""
        self._details = f"{message}\n\n{details}".strip()
        self.ui.messageLabel.text = message
        self.ui.copyDetailsButton.visible = bool(details)
        self.ui.messageFrame.visible = True
        slicer.util.showStatusMessage(message, STATUS_MS)
        scrollTo(self.ui.messageFrame)

    def close(self):
        """Take the message away."""
        self.ui.messageFrame.visible = False

    def copyDetails(self):
        """Message, details and log, for a report of a bug."""
        slicer.app.clipboard().setText("\n".join([self._details, "", "Log:", *self.panel.run.log]))

    def refresh(self):
        """It stays until it is closed or replaced."""


def scrollTo(widget):
    """Make a widget of the panel visible where the panel is scrolled."""
    above = widget.parent()
    while above is not None and not hasattr(above, "ensureWidgetVisible"):
        above = above.parent()
    if above is not None:
        above.ensureWidgetVisible(widget)
