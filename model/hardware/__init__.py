"""Hardware: CPUs with their queues and idle time."""
