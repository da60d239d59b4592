"""nanolake: CMS NanoAOD from a data lake to physics plots and back."""

__version__ = "0.1.0"
