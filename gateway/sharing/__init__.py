"""What tenants share: a fair part of memory and of what is in flight. Pure."""
