"""Echo: interactive requests first, batch work in the time and memory they leave."""
