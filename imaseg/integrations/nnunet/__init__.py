"""nnU-Net v2 trainers with a robust training method; `imaseg nnunet path` is what nnUNet_extTrainer points at."""
