"""The publication behind the objectives of SEA (semantic ensemble attack)."""

SEA = (
    "Croce F, Singh ND, Hein M. Towards reliable evaluation and fast training of robust semantic segmentation "
    "models. ECCV 2024. arXiv:2306.12941."
)
CITED = "Croce et al. 2024"
