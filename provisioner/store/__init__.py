"""PostgreSQL: the truth. Only bootstrap plugs this room in; it knows ports, domain and errors."""
