"""How quick it is here: the same few jobs on any machine, each in a process of its own."""
