"""Detection: decodes journaled batches, indexes them, evaluates the rules and writes alerts."""
