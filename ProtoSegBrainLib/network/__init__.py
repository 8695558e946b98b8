"""The networks: ours, which decides through prototypes, and those it is measured against.

In: images as the network sees them, 1 mm, z-scored.
Out: similarities to the prototypes and logits of the classes; a trained network with its card, as files.

segmentation_net  what everybody asks of a network, and what it answers
blocks            convolutions, the stem, the blocks of the backbone
prototype_layer   embedding -> similarities to the prototypes
last_layer        similarities -> logits
model             the network from image to logits, and its configuration
peers             networks of other projects, with the same answers
networks          which network a configuration describes
calibration       how to read its answer: temperatures, what was measured on cases that it had not seen
evidence          last layer, prototypes and calibration as plain arrays: how similarities become a decision
device            where to compute: device, precision, memory
processes         several processes that train one network together
inference         a network over a whole volume
weights           a trained network and its model card, as files
"""
