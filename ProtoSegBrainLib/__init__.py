"""Brain tumour segmentation by prototypes.

The map, in the order in which data flow:

labels          names of modalities, classes and regions; label conventions of the public data sets
files           files that are whole or not there
volume          one image with its affine: read, write, reorient, resample
case            one patient study: four modalities on one grid, and the expert's label
simulate        a procedural, licence-free case
preprocess      case -> what the network sees, and back
evidence        last layer, prototypes and calibration: how similarities become a decision
model           the network: backbone, ASPP, decoder, embedding, prototype layer, last layer
losses          one function per equation
augmentation    random changes of training patches
dataset         cases in device memory, patches cut from them
prototypes      initialisation and projection onto real training patches
cards           prototypes in plain words, and the page that shows them
portrait        what a prototype stands for, measured over the training cases
training        warm-up, joint, projection, last layer
configuration   how a network is built and trained, as YAML: those with names, one's own, all of one in print
tuning          a search for better loss weights by short trainings
drawing         what figures have in common: colours, files
run_figures     pictures of a run, from its log: curves and dynamics
logbook         what a training run writes down, and where else it is shown
weights         a trained network with its model card, as files
calibration     temperatures, minimum volumes, reliability and familiarity from cases a model has not seen
inference       the network over a whole volume: device, precision, windows
decision        tumour probabilities -> label and probabilities on the grid of the case
predict         case -> prediction
prediction      the result in memory and as files
uncertainty     entropy per voxel, disagreement between views
reliability     per region: volume interval, expected Dice, calibration error
familiarity     is a scan like those that the model learned from?
explain         what each prototype added to the decision at a place, and in a region
whatif          the result with prototypes turned off, from the stored similarities
pruning         prototypes removed from a model for good
metrics         Dice, HD95, surface and lesion-wise Dice, volumes
evaluate        a folder of predictions against the experts' labels
agreement       predicted against true classes of a case: one small matrix
score_figures   pictures of scores: dashboard, cases that fail
case_sheets     pictures of single cases, truth and prediction: sheet, sweep, table
figures         which figures there are of a run and of predictions
recognition     which image is which modality, which number which class, told from the images
case_check      one case: geometry, intensities, label, and what is wrong with them
data_check      a folder of cases: copies, mixed codings, table
data_pictures   a sheet of the cases; their volumes and where their tumours lie
lesion          geometry of a lesion in mm: diameters, foci, place in the brain
mapscores       similarity maps, decision and confidence of a case against its label
perturbation    what prototypes do when the image changes
deletion        delete and insert voxels in the order of an explanation
faithfulness    all measures of the explanations over labelled cases
findings        what a result says in numbers and words
picture         a result as one figure
slices          slices of a case with maps and outlines, as SVG
mesh            surfaces of a tumour for the browser
report          a result as a page for a person
segment_folder  every case of a folder, here or on a cluster
export          a network as ONNX and TorchScript, compared with torch
bundle          a model as a folder that MONAI's programs load
exchange        images and results between two processes
environment     what there is to compute with
worker          a process that segments on request
worker_client   the same from the side that asks: no torch, no waiting
comparison      scores of networks: intervals, paired differences
timing          seconds and memory per case, models in turn
benchmark_plan  which networks are compared, on which folds; what lies where
benchmark_report  the tables of a benchmark
benchmark       networks trained, predicted, timed and compared alike
flags           command line flags made from the config dataclasses
console         what commands share: answers, flags, progress bar
commands        what each command does, those about explanations in explanation_commands
memory          memory that is kept for the next case
cli             the command line
"""
