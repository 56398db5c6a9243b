"""Real processes of this project for the tests: programs, clusters of nodes, and networks between them."""
