"""Which modules pytest does not read for doctests: those that subclass nnU-Net's classes, where it is not installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("nnunetv2") else ["imaseg/integrations/nnunet/*"]
