"""What becomes of tasks, as it happens: waited for and streamed.

`notices` hears changes, `feed` writes down what one client watches.
"""
