"""An organization's settings: their frame, and the sections that this room registers."""
