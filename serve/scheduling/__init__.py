"""Which requests take part in a step, and what a step costs."""
