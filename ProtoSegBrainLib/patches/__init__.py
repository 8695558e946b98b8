"""Labelled cases as what a network learns from: patches cut at random and changed at random.

In: a folder of cases with labels.
Out: prepared cases in the device's memory, and batches of patches cut from them.

cases         a prepared case, its cache, its windows and its label on the network's grids
tumours       changes that imitate other tumours
scanners      changes that imitate other scanners and protocols
healthy       brains without a tumour: the other side in its place, simulated ones
augmentation  how often each change is made and how strongly; flips, turns and scaling
sampling      where patches are cut
"""
