"""Brain tumour segmentation by prototypes.

The map, in the order in which data flow:

labels        names of modalities, classes and regions; label conventions of the public data sets
volume        one image with its affine: read, write, reorient, resample
case          one patient study: four modalities on one grid, and the expert's label
simulate      a procedural, licence-free case
preprocess    case -> what the network sees, and back
evidence      last layer, prototypes and calibration: how similarities become a decision
model         the network: backbone, ASPP, decoder, embedding, prototype layer, last layer
losses        one function per equation
augmentation  random changes of training patches
dataset       cases in device memory, patches cut from them
prototypes    initialisation and projection onto real training patches
training      warm-up, joint, projection, last layer
logbook       what a training run writes down
weights       a trained network with its model card, as files
calibration   temperature and minimum enhancing volume from cases a model has not seen
inference     the network over a whole volume: device, precision, windows
predict       case -> prediction
prediction    the result in memory and as files
metrics       Dice, HD95, volumes
evaluate      a folder of predictions against the experts' labels
picture       a result as one figure
flags         command line flags made from the config dataclasses
commands      what each command does
cli           the command line
"""
