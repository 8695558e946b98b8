"""A study as scanners and people leave it -> a case that the network can read.

In: a folder of NIfTI or DICOM files, or four images in memory.
Out: a ``Case`` on the grid of T1ce, with what was done to it.

alignment   where one image of a head lies on another: a rigid motion
brain_mask  where the brain is on a T1ce with skull
"""
