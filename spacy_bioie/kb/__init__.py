"""Knowledge bases: concepts, names, and the search for the concepts that a text may name.

faiss, torch and transformers are imported at the first call that needs them.
"""
