"""Evidence: the journal of signed batches, exactly as the PCs sent them."""
