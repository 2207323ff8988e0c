"""Who may do what: roles, and the table of what each of them allows."""
