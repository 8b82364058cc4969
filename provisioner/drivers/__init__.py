"""Ways to reach servers: each satisfies `ports.Driver` and has never heard of a job."""
