"""A head that is no patient, made of formulas and seeded noise.

In: a seed.
Out: a ``Case`` with its label, or a raw study: skull and all, moved, on four grids, as NIfTI or DICOM.

anatomy       brain, tissues, tumour
skull         what lies around the brain: fluid, bone, scalp, face, eyes, neck
simulate      the brain as a case
two_dates     the same brain later: its tumour grown or shrunk, the head laid otherwise
scanner       slices, field of view, noise of a series
raw           the whole head as a raw study, in NIfTI or DICOM files
dicom_series  a volume as a DICOM series
"""
