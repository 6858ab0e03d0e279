"""The contestants' HTTP servers, each started as a process of its own; never imported together."""
