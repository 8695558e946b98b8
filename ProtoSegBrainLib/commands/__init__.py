"""The command line: a file for each group of commands, and what all commands need.

In: what somebody typed.
Out: files, an answer as text or JSON, an exit code.

cli           all commands in one table, the program itself, its exit codes
flags         a flag for each field of a config dataclass, and back; flags that several commands have
console       a command's answer, the bar of progress
segmentation  segment, segment-folder, worker, demo
series        series
training      train, tune
evaluation    evaluate, benchmark, figures
explanation   explain, whatif
correction    teach
followup      follow
prototypes    portray, cards, faithfulness, prune
models        info, export
model_card    the card of a model as a person reads it
data          data check, simulate
"""
