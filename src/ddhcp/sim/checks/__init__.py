"""One checker for each invariant. None of them looks at what a node believes."""
