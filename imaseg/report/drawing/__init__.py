"""Pictures of slices: attacked images and maps of margins."""
