"""Nodes and displays of 3D Slicer for a result: what it looks like in a scene.

Everything takes the scene and the logics as arguments, so that the same code runs in the application, in a batch
without a window, and in the tests on ``slicer-core``. It knows no buttons and no network.

context       the scene and the logics that the rest needs
grid          voxels and affines of the library <-> volume nodes
hierarchy     where nodes stand in the tree of the Data module
moves         images where they were aligned, or as they were scanned
fingerprint   what an input was when it was segmented
inputs        four input volumes: which is which, do they agree, what will be done, as images of the library
brainmask     a person's segmentation of the brain, as a mask of the library
case          the images of a case or a study as volume nodes, and its name from theirs
segmentation  the label as segments: classes, regions, terminology, surfaces
legends       what the colours mean, in a corner of a view
heatmap       similarity and uncertainty over the slices
rendering     similarity in 3D: as a cloud, on the surface of the tumour; the brain around it
tables        volumes and prototypes as rows
stored        a prediction kept whole in nodes, and restored from them
parts         the nodes of which a result consists
result        all nodes of a result: shown, changed, found again, removed
points        places that a person pointed at, as control points
correction    a result corrected by points, kept in nodes and restored from them
results       the results of a scene with their predictions
shown         one result at a time: all others are hidden
resultfiles   a result as the files that the command line writes
comparison    two results of a patient side by side, and what changed
layout        four modalities and 3D beside each other
sight         the tumour in sight, in slices and in 3D
offscreen     views without a window
savedscene    a case and its result as a scene file or as a picture
"""
