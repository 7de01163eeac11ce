"""One file a kind of net: how it is built, what it learns from, its loss, what is shown of it, what it becomes."""
