"""What changed in a patient between two dates or more.

In: cases and their ``Prediction`` at each date.
Out: a ``FollowUp``: volumes, diameters and prototypes at each date, maps of what is new, gone and the same.

visit           a patient at one date; the order of several
motion          where the head lay, and whether it is the same head
change          volumes, diameters, thresholds of RANO 2.0
maps            what is new, gone and the same
reasons         prototypes that count for more or for less
follow          all of these
followup_files  the files of a follow-up
"""
