"""How the page looks: style sheet, scripts, templates, plots."""
