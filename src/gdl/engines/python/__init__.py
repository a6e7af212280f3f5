"""What engines that are Python packages share: environments, package places, drivers, models."""
