"""Results, prototypes and training runs as pages and pictures, for screen and paper.

In: a case and its ``Prediction``, the prototypes of a model, or the log of a run.
Out: HTML pages that need nothing else, figures, tables with images.

The words and the markup of a page stand in ``report.html``, ``followup.html`` and ``cards.html``, its look in the style
sheet of the same name; there they are changed.

report             the report of a result: what it says
report_pictures    what it shows: planes, maps, surfaces
prepared           the series of a raw study as they were aligned, with the brain
followup           the report of a follow-up
followup_pictures  what it shows: the dates side by side, what changed, volumes over time
cards              a card for each prototype of a model
page               templates -> pages
slices             a slice as an SVG drawing: grey image, colour map, outlines, lines, marks
mesh               surfaces of brain and tumour, to be turned
overview           one slice with outlines, and what speaks for each class there
case_sheets        truth beside prediction: a sheet, a sweep of slices, a table
run_figures        curves of a training run
tables             tables whose cells may be images
drawing            what the figures have in common: colours, files
"""
