"""The sockets that clients open: how many, how long they may dawdle, what bad HTTP is told."""
