"""What is concluded for a case, and how far to trust it.

In: tumour probabilities and similarities of the network, on its grid.
Out: a ``Prediction`` on the grid of the case, its files, how sure it is, and where the tumour lies.

decision          probabilities -> label and probabilities of the case
prediction        the result of a case
prediction_files  its files: what they hold, written and read back
writer            its files put in place all or none, by one writer at a time
uncertainty       how unsure it is, voxel by voxel
reliability       how far to trust a region: interval of its volume, expected Dice
familiarity       whether the scan is like those that the model learned from
lesion            diameters, foci, and where in the brain the tumour lies
metrics           how well a label map agrees with the expert's
"""
