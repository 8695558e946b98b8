"""The panel's sections: one file, one class, one collapsible section. They show and ask; what is done, Logic does.

Each section takes the widget of the module, from which it has ``logic``, ``parameters``, ``result`` and ``guarded``,
and the widgets of the .ui file. ``refresh`` makes it show what is, and may be called at any time.

message       one message at the top: errors, what was written
inputs        four volumes, and whether they belong together
run           device, model, Segment and Cancel, progress, log
result        volumes, surfaces, outlines, saving
prototypes    the prototypes: maps, what-if
why           the decision at the crosshair
uncertainty   where the result is unsure, whether the scan is familiar
installation  packages that are missing

requests      what was asked of the worker, and who waits for the answer
views         the module's own arrangement of views
"""
