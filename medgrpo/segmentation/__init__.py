"""Models whose answer is a mask: policies over masks, their samplers, losses, patches and overlays."""
