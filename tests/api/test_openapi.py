"""The schema that the server shows is valid OpenAPI 3.1, and says what the server does."""
import jsonschema
import openapi_spec_validator
import pytest


@pytest.fixture(scope="module")
def document(server):
    status, _, document = server.call("/openapi.json")
    assert status == 200
    return document


def test_the_document_is_valid(document):
    openapi_spec_validator.validate(document)


def test_every_path_answers(server, document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["operationId"] and operation["summary"], path
            if "text/event-stream" in operation["responses"]["200"]["content"] and method == "get":
                continue  # has no end
            if method == "get" and "{" not in path:
                assert server.call(path)[0] in (200, 404), path  # 404: not switched on
            elif method == "post" and "{" not in path and "requestBody" in operation:
                status, _, reply = server.post(path, {"no such field": 1})
                assert status == 400 and reply["error"]["code"] == "unknown_parameter", path


def test_all_routes_are_described(document):
    for path in ("/v1/chat/completions", "/v1/completions", "/completion", "/infill", "/v1/embeddings", "/v1/models",
                 "/v1/models/{name}", "/tokenize", "/detokenize", "/apply-template", "/health", "/livez", "/readyz",
                 "/metrics", "/props", "/openapi.json", "/admin/trace", "/admin/monitor", "/admin/monitor/stream",
                 "/admin/monitor/history", "/admin/monitor/prefixes", "/admin/monitor/request/{name}", "/admin/requests/{name}", "/v1/kv/snapshots", "/v1/responses"):
        assert path in document["paths"], path


CASES = [
    ("createCompletion", "/v1/completions", {"prompt": "x", "max_tokens": 1},
     [("temperature", v) for v in (0, 2.5, 101, -1, "hot", None)] +
     [("n", v) for v in (1, 2, 8, 9, 0, 1.5)] + [("stop", v) for v in ("a", ["a"], ["a"] * 17, 5)] +
     [("seed", v) for v in (3, -1, "x")] + [("stream", v) for v in (False, "yes")] +
     [("top_k", v) for v in (-1, 3, -2)] + [("unheard_of", 1)] + [("priority", v) for v in (100, 101)] +
     [("logit_bias", v) for v in ({"5": 1}, {"5": 101}, [[5, 1]], 7)] + [("prompt", v) for v in ("y", [1, 2], ["a", "b"], 5)]),
    ("createChatCompletion", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
     [("messages", v) for v in ([], [{"role": "user", "content": "y"}], [{"role": "alien", "content": "y"}], 5)] +
     [("logprobs", v) for v in (True, 5)] + [("max_completion_tokens", v) for v in (1, -2)]),
    ("createEmbedding", "/v1/embeddings", {"input": "x"},
     [("encoding_format", v) for v in ("float", "base64", "int8")] + [("pooling", v) for v in ("mean", "max")] +
     [("dimensions", v) for v in (1, 0)] + [("input", v) for v in (["a"], [], 5)]),
]


@pytest.mark.parametrize("name, path, base, variations", CASES, ids=[c[0] for c in CASES])
def test_the_schema_and_the_server_agree(server, document, name, path, base, variations):
    schema = document["components"]["schemas"][name]
    checker = jsonschema.Draft202012Validator(schema)
    for field, value in variations:
        body = base | {field: value}
        if field == "n" and value == 8:
            body["max_tokens"] = 1
        status = server.post(path, body)[0]
        assert checker.is_valid(body) == (status == 200), (field, value, status)


def test_defaults_are_the_models_own(server, document):
    params = server.call("/props")[2]["default_generation_settings"]["params"]
    properties = document["components"]["schemas"]["createChatCompletion"]["properties"]
    for name in ("temperature", "top_k", "top_p", "min_p", "repeat_penalty"):
        assert properties[name]["default"] == pytest.approx(params[name])
