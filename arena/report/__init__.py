"""The leaderboard as a page, as Markdown and in the terminal."""
