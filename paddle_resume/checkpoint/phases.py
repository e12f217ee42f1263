"""What comes next in a run, as records tell it."""

TRAIN = "train"
EVALUATE = "evaluate"
FINISH = "finish"
DONE = "done"
