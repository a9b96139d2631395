"""What the stack tests share: a running stack, its processes, and a model that misbehaves."""
