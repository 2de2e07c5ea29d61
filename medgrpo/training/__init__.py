"""SFT, GRPO and DPO on the TRL trainers; stages, resume, callbacks."""
