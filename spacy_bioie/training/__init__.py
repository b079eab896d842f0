"""What training needs beside spaCy's own loop."""
