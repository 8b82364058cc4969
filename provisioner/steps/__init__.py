"""What is done to a server: one file a deed; a step sees its StepContext and nothing else."""
