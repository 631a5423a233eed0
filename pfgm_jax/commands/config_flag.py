"""What becomes of --config and its overrides, which ml_collections parses in words of its own."""

import re
import sys
from pathlib import Path

import ml_collections
from absl import flags

from pfgm_jax import config_fields, config_files
from pfgm_jax.errors import InputError, shown


class ConfigError(Exception):
    """An `InputError` of the config, which absl would put its own words around if it were a ValueError."""


class ConfigParser(flags.ArgumentParser):
    """Loads the config that --config names."""

    def parse(self, argument: str) -> ml_collections.ConfigDict:
        """Loads a file, whose name may be followed by a colon and an argument of get_config.

        Raises:
          ConfigError: it cannot be loaded, or another argument overrides a field that it does not have.
        """
        name, *arguments = argument.split(":", 1)
        try:
            config = config_files.load_file(Path(name), *arguments)
            known = config_fields.known_fields()
            for field in filter(None, map(_overridden, sys.argv)):
                if field not in known:
                    raise config_fields.unknown_field(field, known)
        except InputError as error:
            raise ConfigError(str(error)) from None
        return config.lock()


def value_error(message: str) -> str:
    """Says what is wrong with an overridden field of which absl says this; "" if it is of another flag."""
    found = re.match(r"flag --config\.([\w.]+)=(.*?): ", message, re.DOTALL)
    return f"{found[1]} is {shown(found[2])}; {config_fields.wanted(found[1])}" if found else ""


def _overridden(argument: str) -> str:
    """Returns the field that an argument overrides; "" if it overrides none."""
    found = re.match(r"--?(?:no)?config\.([^=]*)", argument)
    return found[1] if found else ""
