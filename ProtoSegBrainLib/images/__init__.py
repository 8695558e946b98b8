"""Images of a patient, from their files to what the network sees, and back.

In: files of any geometry, or arrays of another program.
Out: a ``Study``, four images as they were stored, the ``Case`` made of it, on one grid, and the ``NetworkInput``.

volume       one image and where it lies: turn, resample
nifti        NIfTI and Analyze, from bytes
formats      image files: read, write, and what is none named
naming       which file is which, told by names
folders      the cases of a folder, and their files
codings      values of a label file <-> class indices, and whether the images speak for another coding
checks       what the images of a case must be, and what a user should know of them
background   what surrounds the brain is set to 0
brains       whether the four images show one brain
study        four images as they were stored, and reading them
preparation  what was done to a raw study: moves and brain mask
case         the case: a study on one grid
preprocess   case -> RAS axes, 1 mm, brain crop, z-score; and back to the case's grid
"""
