"""The second tier: real PostgreSQL, Redis and RabbitMQ, broken in every way that a server can break."""
