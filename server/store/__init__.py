"""What outlasts the process: traders, signals, executions and the outbox, in one SQLite file."""
