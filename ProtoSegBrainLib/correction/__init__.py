"""A result put right by pointing at places: each is a prototype of the user's own.

In: a ``Prediction``, the embedding of its case, and points with their classes.
Out: the corrected ``Prediction``; a training case of it.

points     places that a person points at, or pieces that were painted
embedding  what the network makes of each place of a case
fit        how much each point counts
teach      points -> corrected result
corrected  a corrected result as a labelled case
"""
