"""Look before you spend: short pieces of the real run, in processes of their own, nothing of which is kept."""
