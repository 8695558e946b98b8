"""From patches to a network whose prototypes are patches of real cases.

In: prepared cases and a ``TrainConfig``.
Out: a folder with the model, its card, log, curves, checkpoint and summary.

train              a fold of a data set, from its folder to the finished model
recipe             all that a run is made of, besides its data
configuration      recipes as YAML: those with names, one's own, all of one in print
trainer            the loop, for every network
prototype_trainer  its phases where there are prototypes: warm-up, joint, projection
prototypes         initialisation, projection onto training patches, fit of the last layer
losses             one function per equation
optimisation       optimisers, learning rates, averaged weights
validation         scores while a run lasts and at its end
checkpoint         where a run stands, as files
logbook            what a run writes down, and where else it is shown
pruning            prototypes removed from a model for good
tuning             a search for better loss weights by short trainings
"""
