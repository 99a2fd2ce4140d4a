"""What every room stands on: errors, the console, atomic files, locks, prompts, pages."""
