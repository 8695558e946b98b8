"""What changed in a patient between two dates or more.

In: cases and their ``Prediction`` at each date.
Out: a ``FollowUp``: volumes, diameters and prototypes at each date, maps of what is new, gone and the same.

"""
