"""Each technique on and off, over seeds, with the same number of training steps: what it is worth here.

    python -m benchmarks.studies mixup --data-root data
    python -m benchmarks.studies --list

Nothing here reads a test split: accuracies are those on pool images that no training, stopping rule, calibration or
pseudo-label has seen. Arms of one seed share split, initial weights and batches, so their differences are paired. CPU
seconds are counted per arm and stand in the table.
"""
