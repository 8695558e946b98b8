"""One message at the top of the panel: what went wrong, what was written. No dialog."""

import re

import slicer

STATUS_MS = 10000
ADD_THEM = "add other images to the scene one by one and choose each under Inputs."
ONE_STUDY = "Choose a folder that holds one of them alone"
FIRST_INSTALL = "Installation, Install what is missing…"
WORDS = (
    (r"Choose one with --study \([^)]*\), or segment all with segment-folder", ONE_STUDY),
    (r"; name T1ce with --[a-z0-9]+", f"; {ADD_THEM[:-1]}"),
    (r", name it with --[a-z0-9]+( --[a-z0-9]+)*", f", {ADD_THEM[:-1]}"),
    (r': pip install "protosegbrain\[raw\]"( \([^)]*\)).*? for deepbet', rf", HD-BET\1: {FIRST_INSTALL}"),
    (r': pip install "protosegbrain\[[a-z]+\]"', f": {FIRST_INSTALL}"),
    (r"; other names can be given by role\.", f"; {ADD_THEM}"),
    (r"Give a folder, or four files by role\.", f"Give a folder, or {ADD_THEM}"),
    (r",? or overwrite them \(--overwrite\)", ""),
    (r"add --overwrite or ", ""),
    (r" \(--[a-z-]+\)", ""),
    (r"\[Errno -?\d+\] ", ""),
)
"""Words of the command line and of Python in a message, and what stands for them in a window."""


class MessageSection:
    """A sentence, and its details to be copied."""

    def __init__(self, panel, ui):
        self.panel = panel
        self.ui = ui
        self._details = ""
        self._action = None
        ui.copyDetailsButton.clicked.connect(panel.guarded(self.copyDetails))
        ui.messageActionButton.clicked.connect(panel.guarded(self.act))
        ui.closeMessageButton.clicked.connect(panel.guarded(self.close))
        ui.messageFrame.visible = False

    def show(self, message, details="", action=None):
        """Show a message in place of the one before, where it is seen.

        :param details: To be copied with it.
        :param action: Text of a button, and what is called when it is clicked: what a person can do now.
        """
        message = inWords(message)
        text, self._action = action or ("", None)
        self.ui.messageActionButton.text = text
        self.ui.messageActionButton.visible = bool(text)
        self._details = f"{message}\n\n{details}".strip()
        self.ui.messageLabel.text = message
        self.ui.copyDetailsButton.visible = bool(details)
        self.ui.messageFrame.visible = True
        slicer.util.showStatusMessage(message, STATUS_MS)
        scrollTo(self.ui.messageFrame)

    def close(self):
        """Take the message away."""
        self.ui.messageFrame.visible = False

    def act(self):
        """Do what the button says."""
        action = self._action
        self.close()
        if action:
            action()

    def copyDetails(self):
        """Message, details and log, for a report of a bug."""
        slicer.app.clipboard().setText("\n".join([self._details, "", "Log:", *self.panel.run.log]))

    def refresh(self):
        """It stays until it is closed or replaced."""


def inWords(message):
    """A message for people who have no command line before them."""
    for pattern, words in WORDS:
        message = re.sub(pattern, words, message)
    return message


def wordsOf(error):
    """What an error says; of the system's own what it says of which file."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        return f"{file}: {error.strerror}." if file else f"{error.strerror}."
    return str(error) or type(error).__name__


def scrollTo(widget):
    """Make a widget of the panel visible where the panel is scrolled."""
    above = widget.parent()
    while above is not None and not hasattr(above, "ensureWidgetVisible"):
        above = above.parent()
    if above is not None:
        above.ensureWidgetVisible(widget)
