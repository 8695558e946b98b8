"""The panel's sections: one file, one class, one collapsible section. They show and ask; what is done, Logic does.

Each section takes the panel, from which it has ``logic``, ``parameters``, ``result`` and ``guarded``, and the widgets
of the .ui file. ``refresh`` makes it show what is, and may be called at any time.

panel          all sections, what they share, and the one place that catches errors
message        one message at the top: errors, what was written
inputs         four volumes, whether they belong together, and what will be done to them
run            device, model, Segment and Cancel, progress, log
result         volumes, surfaces, outlines, saving
prototypes     the prototypes: maps, what-if
why            the decision at the crosshair
correct        points of a person, and what is learned from them
compare        an earlier result of the patient beside the one that is shown
uncertainty    where the result is unsure, whether the scan is familiar
installation   packages that are missing

patient        images and result that belong together; all others are hidden
parameternode  what was chosen, saved with the scene
worker         the process that runs the network, as Slicer starts it
idle           what can wait until the window has nothing else to do
requests       what was asked of the worker, and who waits for the answer
scene          what happens when the scene is closed or loaded, and when nodes go
views          the module's own arrangement of views
sampledata     cases in the module Sample Data
"""
