"""Where the work is done: strategies, replicas, hosts."""
