"""The trainers on top of TRL's, and what they exchange: rollout, scoring, log probabilities, batches."""
