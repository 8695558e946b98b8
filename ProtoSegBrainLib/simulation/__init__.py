"""A head that is no patient, made of formulas and seeded noise.

In: a seed.
Out: a ``Case`` with its label, or a raw study: skull and all, moved, on four grids, as NIfTI or DICOM.

anatomy       brain, tissues, tumour
simulate      that brain as a case
"""
