"""The folder that `nnUNet_extTrainer` points at: nnU-Net imports each module in it by its bare name."""
