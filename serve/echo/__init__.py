"""Echo: interactive requests first, batch work in the remaining time and memory."""
