"""Ways to reach people, one file a kind of desk; each satisfies `ports.Desk` and has never heard of a job."""
