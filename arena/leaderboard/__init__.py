"""From runs to a leaderboard with intervals and tests."""
