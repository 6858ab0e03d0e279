"""What the processes of a deployment share; see `penstock.wire`."""
