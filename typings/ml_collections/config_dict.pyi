from typing import Any

ConfigDict: Any
FieldReference: Any
