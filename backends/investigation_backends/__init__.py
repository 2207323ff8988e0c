"""Where investigations are kept: memory and SQLite. Each module offers its backend and can be imported alone."""
