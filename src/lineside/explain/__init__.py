"""Why did it say so? Learnt filters, feature maps, class activation maps."""
