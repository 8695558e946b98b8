"""Images of a patient, from their files to what the network sees, and back.

In: files of any geometry, arrays of another program, or a seed.
Out: a ``Case``, four images and the label on one grid, and the ``NetworkInput`` made of it.

volume      one image and where it lies: read, write, turn, resample
naming      which file is which, told by names
codings     values of a label file <-> class indices
checks      what the images of a case must be, and what a user should know of them
case        the case, and reading it
preprocess  case -> RAS axes, 1 mm, brain crop, z-score; and back to the case's grid
anatomy     a head made of formulas: brain, tissues, tumour
simulate    that head as a case
"""
