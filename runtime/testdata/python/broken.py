def deep():
    raise KeyError("while importing")


deep()
