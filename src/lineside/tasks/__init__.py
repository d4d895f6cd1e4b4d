"""What is asked of the image? A folder a task."""
