"""Nodes and displays of 3D Slicer for a result: what it looks like in a scene.

Everything takes the scene and the logics as arguments, so that the same code runs in the application, in a batch
without a window, and in the tests on ``slicer-core``. It knows no buttons and no network.

context       the scene and the logics that the rest needs
grid          voxels and affines of the library <-> volume nodes
inputs        four input volumes: which is which, do they agree, as images of the library
case          a case's images as volume nodes, and its name from theirs
segmentation  the label as segments: classes, regions, terminology, surfaces
heatmap       similarity and uncertainty over the slices
rendering     similarity in 3D: as a cloud, on the surface of the tumour
tables        volumes and prototypes as rows
stored        a prediction kept whole in nodes, and restored from them
result        all nodes of a result: shown, changed, found again, removed
results       the results of a scene with their predictions
resultfiles   a result as the files that the command line writes
layout        four modalities and 3D beside each other
offscreen     views without a window
savedscene    a case and its result as a scene file or as a picture
"""
