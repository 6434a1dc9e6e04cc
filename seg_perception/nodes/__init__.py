"""What knows the life of a node: parameters, topics, lifecycle; no arithmetic."""
