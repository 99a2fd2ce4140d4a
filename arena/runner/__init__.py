"""Run contestants on samples through Inspect, resumably."""
