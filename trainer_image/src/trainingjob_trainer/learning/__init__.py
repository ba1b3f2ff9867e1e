"""What learning is made of: loss, optimiser, schedule, regularisation, evaluation, early stopping. No input or output here."""
