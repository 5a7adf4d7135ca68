"""What a MedMO run is made of: configuration, corpus, streaming, model, SFT, evaluation and reports."""
