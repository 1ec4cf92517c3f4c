"""Public training scripts adopted as they are: what a case is, the conversation, the comparison, the cost."""
