"""How good predictions are: against the experts' labels, and one network against another.

In: predictions and the cases they belong to; or networks to train and compare.
Out: scores per case and over all, figures, a report; a model's calibration.

pairs        a case and what was predicted for it: which file, in which coding, on which grid
evaluate     a folder of predictions against the labels: scores of each case, and a summary
agreement    predicted against true classes of one case, and which kind of difficult case it is
dashboard    picture: scores by class, confusion, cases ranked
failures     picture and table: the cases that fail
figures      which figures there are of a run and of predictions
comparison   what scores per case say of a network, and of two: intervals, differences
plan         what a benchmark compares, and where everything of it lies
benchmark    the stages of a benchmark: train, predict, time, report
timing       seconds and memory that a model takes for a case
outcome      what the runs of a benchmark came to, network by network
report       the report of a benchmark
calibration  temperatures, minimum volumes, reliability and familiarity, from cases a model has not seen
"""
