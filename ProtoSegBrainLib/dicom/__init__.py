"""DICOM, in and out.

In: a folder of DICOM files, any number of series; or a ``Prediction`` and the series that it was made from.
Out: images by role; a segmentation, a report and parametric maps of the same patient and study.

instances            the objects of a folder, headers only
roles                which modality a series is
series               objects grouped into stacks of slices
stack                the voxels of a stack
examination          series by patient, study and date
pick                 one series for each role
study                the images of the four
codes                the standard codes of what is found
objects              what all that is written has in common
segmentation_object  the label
measurement_report   volumes and diameters
parametric_map       uncertainty, similarities
export               all of these in a folder
"""
