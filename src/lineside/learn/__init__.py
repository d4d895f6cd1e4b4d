"""How is it trained? Loop, schedules, augmentation, transfer, checkpoints, distribution."""
