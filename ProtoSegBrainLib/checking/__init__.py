"""What is wrong with a folder of cases, before anybody trains on it.

In: a folder of cases, of any quality.
Out: a table of the cases and their problems, and pictures of them.

case         one case: its geometry, intensities and label, and what is wrong with them
recognition  which image is which modality, told from the images
data_set     the folder: its cases, and across them copies and codings that differ
pictures     a sheet of the cases; their volumes, and where their tumours lie
"""
