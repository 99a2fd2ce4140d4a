"""Write a corpus of the target's answers and train a draft head on it."""
