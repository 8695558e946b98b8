"""A study as scanners and people leave it -> a case that the network can read.

In: a folder of NIfTI or DICOM files, or four images in memory.
Out: a ``Case`` on the grid of T1ce, with what was done to it.

alignment   where one image of a head lies on another: a rigid motion
transforms  motions as files of ITK
brain_mask  where the brain is on a T1ce with skull
hd_bet      HD-BET, the standard of the field
deepbet     deepbet, small and quick
look        whether a study is stripped and aligned
prepare     study -> case
study       reading a study, DICOM or not; the studies of a folder
"""
