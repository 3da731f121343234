"""nnU-Net v2 trainers with a robust training method; `imaseg nnunet path` prints the value for nnUNet_extTrainer."""
