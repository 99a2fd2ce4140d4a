"""Who answers: models, baselines, and retrieval with or without a model."""
