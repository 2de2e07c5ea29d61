"""Loading, image-token arithmetic, LoRA merge, the tiny demo model."""
