"""All of the way from a case to its result: for one case, for a folder of them, or at the request of another program.

In: a case, a folder of cases, or images sent by another process, and the weights.
Out: a ``Prediction``, files and ``manifest.csv``, or events and a result for the one who asked.

predict      one case: prepare, run the network, calibrate, map back
job          one case of a folder, and its files put in place
native       a result on the grids of the scanner's series, as transforms, as DICOM
visits       the scans of one patient at several dates, each with its result
manifest     what became of each case
folder       every case of a folder; here, in several processes, or on a cluster
worker       the process that segments on request
process      that process, as the one who started it sees it
client       how a program without torch asks for a segmentation
exchange     images and results between the two, through a folder
environment  what there is to compute with
memory       memory that a program keeps for its next volume
"""
