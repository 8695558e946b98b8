"""Why a result is what it is, in numbers and words, and whether that is the reason.

In: a ``Prediction``, whose similarities and last layer it explains; or a network and labelled cases, to be measured.
Out: contributions of prototypes, results without some of them, findings; portraits of prototypes, scores.

explain       a voxel, or a region: what each prototype added to the decision
whatif        the result with prototypes turned off or given another weight
findings      all that a result is reported with
names         what a prototype is called: its look and tissue
portrait      what a prototype stands for, measured over the training cases
patch         patches of cases that show it
faithfulness  every measure of whether explanations are the reason, in one table
mapscores     its measures from one pass of the network: do maps, decision and confidence agree with the label
perturbation  its measures on changed images: stability, misalignment, receptive field
deletion      its measures on deleted and inserted voxels
"""
