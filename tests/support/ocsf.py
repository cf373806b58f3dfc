"""Events checked against OCSF's own schema files, as strictly as they can be read.

The package ``pydantic-ocsf`` brings the schema's files of each version (Apache-2.0): the dictionary of
attributes and types, the classes and objects with what they extend. Its models let unknown attributes pass,
so the files are read here: nothing that the schema does not name passes, nothing required is missing, every
value is of its type, every number of an enumeration is one of its numbers.
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any


class Schema:
    def __init__(self, version: str) -> None:
        path = files("ocsf.schemas") / f"v{version.replace('.', '_')}.json"
        self._files = json.loads(path.read_text())
        assert self._files["version"] == version
        self._dictionary = self._files["dictionary"]["attributes"]
        self._types = self._files["dictionary"]["types"]["attributes"]
        categories = self._files["categories_meta"]["attributes"]
        self._classes = {
            categories[category]["uid"] * 1000 + spec["uid"]: name
            for name, spec in self._files["events"].items()
            if "uid" in spec and (category := self._category(spec)) in categories
        }

    def problems(self, event: dict[str, Any]) -> list[str]:
        """What is wrong with it, one line each; empty if it is valid."""
        name = self._classes.get(event.get("class_uid", -1))
        if name is None:
            return [f"there is no class {event.get('class_uid')}"]
        wrong = self._within("events", name, event, "")
        if event.get("category_uid") != event["class_uid"] // 1000:
            wrong.append("category_uid is not the class's")
        if event.get("type_uid") != event["class_uid"] * 100 + event.get("activity_id", -1):
            wrong.append("type_uid is not class_uid * 100 + activity_id")
        return wrong

    def _category(self, spec: dict[str, Any]) -> str | None:
        while "category" not in spec and "extends" in spec:
            spec = self._files["events"][spec["extends"]]
        found: str | None = spec.get("category")
        return found

    @cache  # noqa: B019 - one schema a run
    def _attributes(self, kind: str, name: str) -> dict[str, dict[str, Any]]:
        """Of a class or object, inherited ones included, each with what the dictionary says of it."""
        spec = self._files[kind][name]
        made = dict(self._attributes(kind, spec["extends"])) if "extends" in spec else {}
        for attribute, own in (spec.get("attributes") or {}).items():
            if attribute.startswith("$"):
                continue  # a profile's attributes: they count only in events that name it, and ours do not
            inherited = made.get(attribute) or self._dictionary[attribute]
            enum = {**(inherited.get("enum") or {}), **(own.get("enum") or {})}
            given = {key: value for key, value in own.items() if value is not None}
            # The numbers of classes and categories come from where they are defined, not from here.
            made[attribute] = {**inherited, **given, "enum": {} if attribute in _NUMBERED else enum}
        return made

    def _constraints(self, kind: str, name: str) -> dict[str, list[str]]:
        spec = self._files[kind][name]
        if "constraints" in spec:
            found: dict[str, list[str]] = spec["constraints"]
            return found
        return self._constraints(kind, spec["extends"]) if "extends" in spec else {}

    def _within(self, kind: str, name: str, value: Any, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}: not an object"]
        attributes = self._attributes(kind, name)
        wrong = [f"{path}{key}: {name} has no such attribute" for key in value if key not in attributes]
        wrong += [
            f"{path}{key}: required in {name}, and missing"
            for key, spec in attributes.items()
            if spec.get("requirement") == "required" and key not in value
        ]
        for constraint, names in self._constraints(kind, name).items():
            count = sum(each in value for each in names)
            if (constraint == "at_least_one" and count < 1) or (constraint == "just_one" and count != 1):
                wrong.append(f"{path or 'event'}: {constraint} of {names}, and there are {count}")
        for key, given in value.items():
            if key in attributes:
                wrong += self._attribute(attributes[key], given, f"{path}{key}")
        return wrong

    def _attribute(self, spec: dict[str, Any], value: Any, path: str) -> list[str]:
        if spec.get("is_array"):
            if not isinstance(value, list):
                return [f"{path}: not an array"]
            return [line for each in value for line in self._single(spec, each, f"{path}[]")]
        return self._single(spec, value, path)

    def _single(self, spec: dict[str, Any], value: Any, path: str) -> list[str]:
        kind = spec["type"]
        if kind == "object" or kind == "json_t":
            return [] if kind == "json_t" or isinstance(value, dict) else [f"{path}: not an object"]
        if kind not in self._types:
            return self._within("objects", kind, value, f"{path}.")
        wrong = self._scalar(kind, value, path)
        if spec["enum"] and isinstance(value, int) and str(value) not in spec["enum"]:
            wrong.append(f"{path}: {value} is not in its enumeration")
        return wrong

    def _scalar(self, kind: str, value: Any, path: str) -> list[str]:
        limits: dict[str, Any] = {}
        base = kind
        while True:
            limits = {**self._types[base], **limits}
            if self._types[base].get("type") in (None, base):
                break
            base = self._types[base]["type"]
        wanted = _PYTHON[base]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            return [f"{path}: {value!r} is no {kind}"]
        wrong = []
        if base in _BITS and not -(2 ** _BITS[base]) <= value < 2 ** _BITS[base]:
            wrong.append(f"{path}: {value} does not fit into a {kind}")
        if "range" in limits and not limits["range"][0] <= value <= limits["range"][1]:
            wrong.append(f"{path}: {value} is out of range")
        if "max_len" in limits and len(value) > limits["max_len"]:
            wrong.append(f"{path}: too long")
        if "regex" in limits and not re.search(limits["regex"], value):
            wrong.append(f"{path}: {value!r} is no {kind}")
        return wrong


_NUMBERED = ("class_uid", "category_uid", "type_uid")
_PYTHON = {"string_t": str, "integer_t": int, "long_t": int, "boolean_t": bool, "float_t": float}
_BITS = {"integer_t": 31, "long_t": 63}


@cache
def schema(version: str) -> Schema:
    return Schema(version)
