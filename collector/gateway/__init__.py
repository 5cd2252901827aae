"""The gateway: the three lanes on which PCs talk to the collector, and the journal behind them."""
