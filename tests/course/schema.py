"""Gradescope's results.json as a JSON schema, https://gradescope-autograders.readthedocs.io/en/latest/specs/, and its check."""
import json

NUMBER, STRING = {"type": "number"}, {"type": "string"}
FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
TEST = {"type": "object", "required": ["score", "max_score", "status", "name"], "properties": {
    "score": NUMBER, "max_score": NUMBER, "status": {"enum": ["passed", "failed"]}, "name": STRING, "name_format": FORMAT,
    "number": STRING, "output": STRING, "output_format": FORMAT, "tags": {"type": "array", "items": STRING},
    "visibility": VISIBILITY, "extra_data": {"type": "object"}}}
RESULTS = {"type": "object", "required": ["tests"], "properties": {
    "score": NUMBER, "execution_time": NUMBER, "output": STRING, "output_format": FORMAT, "test_output_format": FORMAT,
    "test_name_format": FORMAT, "visibility": VISIBILITY, "stdout_visibility": VISIBILITY, "extra_data": {"type": "object"},
    "tests": {"type": "array", "items": TEST}, "leaderboard": {"type": "array", "items": {
        "type": "object", "required": ["name", "value"], "properties": {"name": STRING, "order": {"enum": ["asc", "desc"]}}}}}}
TYPES = {"object": dict, "array": list, "string": str, "number": (int, float)}


def validate(value, schema=RESULTS, where="results"):
    """AssertionError naming the place, if a value does not follow a schema; properties that it does not list are refused."""
    if "enum" in schema:
        assert value in schema["enum"], f"{where} is {value!r}, expected one of {schema['enum']}"
        return
    right = isinstance(value, TYPES[schema["type"]]) and not isinstance(value, bool)
    assert right, f"{where} is {value!r}, no {schema['type']}"
    for key in schema.get("required", ()):
        assert key in value, f"{where} lacks {key}"
    if "properties" in schema:
        for key, item in value.items():
            assert key in schema["properties"], f"{where} has {key}, which Gradescope does not know"
            validate(item, schema["properties"][key], f"{where}.{key}")
    for i, item in enumerate(value if "items" in schema else ()):
        validate(item, schema["items"], f"{where}[{i}]")


def read(path):
    """A results.json that Gradescope accepts."""
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")
    results = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    validate(results)
    return results
