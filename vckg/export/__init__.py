"""Write a graph in formats that other tools read."""
