"""What a mesh consists of here, and how each part is set up."""
