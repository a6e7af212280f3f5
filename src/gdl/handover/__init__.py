"""Handing a deployment over: what runs, in the words of other tools. Pure."""
