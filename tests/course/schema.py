"""Gradescope's results.json as a JSON schema, https://gradescope-autograders.readthedocs.io/en/latest/specs/, and its check."""
import json

NUMBER, STRING = {"type": "number"}, {"type": "string"}
FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}


def array(items):
    return {"type": "array", "items": items}


def record(required, **properties):
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEST = record(["score", "max_score", "status", "name"], score=NUMBER, max_score=NUMBER, status={"enum": ["passed", "failed"]},
              name=STRING, name_format=FORMAT, number=STRING, output=STRING, output_format=FORMAT, tags=array(STRING),
              visibility=VISIBILITY, extra_data={"type": "object"})
RANK = record(["name", "value"], name=STRING, value={"type": ["number", "string"]}, order={"enum": ["asc", "desc"]})
RESULTS = record(["tests"], score=NUMBER, execution_time=NUMBER, output=STRING, output_format=FORMAT, test_output_format=FORMAT,
                 test_name_format=FORMAT, visibility=VISIBILITY, stdout_visibility=VISIBILITY, extra_data={"type": "object"},
                 tests=array(TEST), leaderboard=array(RANK))
TYPES = {"object": dict, "array": list, "string": str, "number": (int, float)}


def validate(value, schema=RESULTS, where="results"):
    """AssertionError naming the place, if a value does not follow a schema."""
    if "enum" in schema:
        assert value in schema["enum"], f"{where} is {value!r}, expected one of {schema['enum']}"
        return
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    right = any(isinstance(value, TYPES[kind]) for kind in kinds) and not isinstance(value, bool)
    assert right, f"{where} is {value!r}, no {' or '.join(kinds)}"
    for key in schema.get("required", ()):
        assert key in value, f"{where} lacks {key}"
    if not schema.get("additionalProperties", True):
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
