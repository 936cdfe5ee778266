"""`rllib-seq` as where neither Ray nor torch is installed; says at its end which of them it saw."""

import atexit
import sys
from importlib.abc import MetaPathFinder

HIDDEN = ("ray", "torch")


class Hide(MetaPathFinder):
    """Finds nothing where the real ones would be found."""

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def say_what_is_loaded():
    print("loaded:", [name for name in HIDDEN if name in sys.modules], file=sys.stderr)


if __name__ == "__main__":
    atexit.register(say_what_is_loaded)
    if sys.argv[1] == "--hide":
        del sys.argv[1]
        sys.meta_path.insert(0, Hide())
    sys.argv[0] = "rllib-seq"
    from rllib_seq.cli import main

    main()
