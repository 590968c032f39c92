"""From events to what consumers use."""
