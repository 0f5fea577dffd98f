"""PostgreSQL and Redis from Python wheels, and what ties them and other children to the process that started them."""
