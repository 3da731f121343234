"""What the outputs of a network are and become: their activation, channels, classes, regions."""
