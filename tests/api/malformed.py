"""The malformed corpus: (name, bytes to send, status expected), made by rules. Every request is one a client should not
send; each status is what RFC 9110, RFC 9112 and the documented error contract say, not what the server was seen to do."""
import itertools
import json

JSON = "Content-Type: application/json\r\n"


def raw(line, *fields, body=b"", host="Host: localhost"):
    head = "\r\n".join([line, *([host] if host else []), *fields]) + "\r\n\r\n"
    return head.encode("latin-1") + body


def post(path, body, *fields, content_type="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw(f"POST {path} HTTP/1.1", f"Content-Type: {content_type}", f"Content-Length: {len(data)}",
               "Connection: close", *fields, body=data)


def chunked(body, path="/tokenize"):
    return raw(f"POST {path} HTTP/1.1", JSON.strip(), "Transfer-Encoding: chunked", "Connection: close", body=body)


def request_lines():
    token_breakers = "\"(),/:;<=>?@[\\]{}"
    for c in token_breakers:
        yield f"method with {c}", raw(f"G{c}T /livez HTTP/1.1"), 400
    for c in (*range(1, 9), 11, 12, *range(14, 32), 127):
        yield f"method with control {c}", raw(f"G{chr(c)}T /livez HTTP/1.1"), 400
        yield f"target with control {c}", raw(f"GET /li{chr(c)}vez HTTP/1.1"), 400
        yield f"field name with control {c}", raw("GET /livez HTTP/1.1", f"X{chr(c)}Y: z"), 400
        yield f"field value with control {c}", raw("GET /livez HTTP/1.1", f"X: y{chr(c)}z"), 400
    for c in token_breakers:
        if c != ":":
            yield f"field name with {c}", raw("GET /livez HTTP/1.1", f"X{c}Y: z"), 400
    for version in ("HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11", "http/1.1", "HTTPS/1.1", "HTTP/1.1 ", "HTTP 1.1", "XTTP/1.1",
                    "HTTP/-1.1", "HTTP/1.1x", "HTTP/a.b", "HTTP/01.1", "HTTP/1,1", ""):
        yield f"version {version!r}", raw(f"GET /livez {version}"), 400
    for version in ("HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"):
        yield f"version {version}", raw(f"GET /livez {version}"), 505
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "get", "Get", "GETT", "M-SEARCH"):
        for path in ("/livez", "/health", "/v1/models", "/metrics", "/v1/chat/completions", "/tokenize"):
            yield f"{method} {path}", raw(f"{method} {path} HTTP/1.1", "Connection: close"), 405
        yield f"{method} nowhere", raw(f"{method} /nowhere HTTP/1.1", "Connection: close"), 404
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize", "/apply-template"):
        yield f"GET {path}", raw(f"GET {path} HTTP/1.1", "Connection: close"), 405
    for target in ("http://localhost/livez", "https://localhost/livez", "HTTP://localhost/", "localhost:80", "livez", "*x",
                   "//\x80", "/%", "/%4", "/%zz", "/%00", "/%0a", "/%0d%0aX:%20y", "/%ff", "/%c0%af", "/%ed%a0%80", "/%7f",
                   "?x", "#x", "a:b", "\\livez"):
        yield f"target {target!r}", raw(f"GET {target} HTTP/1.1", "Connection: close"), 400
    for target in ("/.", "/..", "/../livez", "/livez/", "/livez/..", "//livez", "/./livez", "/LIVEZ", "/livez%20", "/v1/",
                   "/v1", "/%2e%2e/livez", "/v1//models", "/index.html", "/.env", "/etc/passwd", "/livez;a", "/livez%3Fx"):
        yield f"path {target}", raw(f"GET {target} HTTP/1.1", "Connection: close"), 404
    for line in (" GET /livez HTTP/1.1", "\tGET /livez HTTP/1.1", "GET", "GET /livez", "/livez HTTP/1.1", "GET  /livez HTTP/1.1",
                 "GET /livez  HTTP/1.1", "GET\t/livez\tHTTP/1.1", "GET /li vez HTTP/1.1", "x" * 33 + " /livez HTTP/1.1"):
        yield f"line {line[:40]!r}", raw(line), 400
    yield "long target", raw("GET /" + "a" * 8192 + " HTTP/1.1"), 414
    yield "preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505
    for name, data in (("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n"), ("nul", b"\0" * 64 + b"\n"),
                       ("lf", b"GET /livez HTTP/1.1\nHost: localhost\n\n"), ("cr", b"GET /livez HTTP/1.1\rHost: localhost\r\r"),
                       ("lf cr", b"GET /livez HTTP/1.1\n\rHost: localhost\n\r\n\r")):
        yield f"bytes of {name}", data, 400


def fields():
    for text in (" folded", "\tfolded", "no colon", ": no name", " : x", "X : y", "X\t: y"):
        yield f"field {text!r}", raw("GET /livez HTTP/1.1", "A: b", text), 400
    for end in ("\n", "\r"):
        yield f"field ends in {end!r}", raw("GET /livez HTTP/1.1", f"X: y{end}Z: w"), 400
    yield "many fields", raw("GET /livez HTTP/1.1", *(f"X-{i}: y" for i in range(101))), 431
    yield "large field", raw("GET /livez HTTP/1.1", "X: " + "y" * 33_000), 431
    yield "large name", raw("GET /livez HTTP/1.1", "X" * 33_000 + ": y"), 431
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", " ", "localhost:", "localhost:x",
                 "localhost:80:80", "localhost:123456", "[::1", "::1]", "[::1]x", "user@localhost", "localhost/", "localhost,evil",
                 "127.0.0.2", "0.0.0.0", "2130706433", "0x7f000001", "127.1", "[::]", "[::ffff:127.0.0.1]", "localhost.",
                 "192.168.0.1", "10.0.0.1:8080", "localhost evil", "*", "%6cocalhost", "xn--localhost"):
        yield f"host {host!r}", raw("GET /livez HTTP/1.1", "Connection: close", host=f"Host: {host}"), 403
    yield "no host", raw("GET /livez HTTP/1.1", "Connection: close", host=None), 400
    for second in ("localhost", "evil.example", ""):
        yield f"second host {second!r}", raw("GET /livez HTTP/1.1", f"Host: {second}"), 400
    for origin in ("null", "http://evil.example", "https://localhost", "http://localhost.evil.example", "http://localhost:1",
                   "file://", "http://", "localhost", "http://localhost/", "HTTP://localhost", "http://localhost http://evil",
                   "chrome-extension://abc", "http://127.0.0.1", "*"):
        for method, path in (("GET", "/livez"), ("OPTIONS", "/v1/chat/completions"), ("POST", "/tokenize")):
            yield f"{method} from {origin}", raw(f"{method} {path} HTTP/1.1", "Connection: close", f"Origin: {origin}"), 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "",
                 "application/json5", "json", "text/json", "application/xml", "application/x-json", "application",
                 "application/json+x", "text/plain; application/json", "application/octet-stream", "image/png"):
        for path in ("/v1/chat/completions", "/tokenize"):
            yield f"{kind!r} to {path}", post(path, b"{}", content_type=kind), 415
    for expectation in ("magic", "100", "200-ok", "100-continue, x"):
        yield f"expect {expectation}", post("/tokenize", b"{}", f"Expect: {expectation}"), 417


def framing():
    bad_lengths = ("-1", "+1", "0x1", "1e0", "1.0", "1 1", "1,1", "1, 1", "1;1", "", " ", "a", "1a", "\xb2", "99999999999999999999",
                   "18446744073709551616", "18446744073709551615", "9223372036854775808", "1" * 500, "_1", "1_0", "\xd9\xa3", "''", "null", "NaN", "Infinity", "--1", "1-", "0b1", "0o7")
    for length in bad_lengths:
        yield f"length {length[:30]!r}", raw("POST /tokenize HTTP/1.1", JSON.strip(), f"Content-Length: {length}", body=b"{"), 400
    for length in (8 * 1024 * 1024 + 1, 10**9, 10**12, 10**17):
        yield f"length {length}", raw("POST /tokenize HTTP/1.1", JSON.strip(), f"Content-Length: {length}", body=b"{"), 413
    for a, b in itertools.product(("5", "6", "0"), repeat=2):
        yield f"lengths {a} {b}", raw("POST /tokenize HTTP/1.1", f"Content-Length: {a}", f"Content-Length: {b}", body=b"hello"), 400
    for coding in ("gzip", "deflate", "identity", "chunked, gzip", "gzip, chunked", "chunked, chunked", "chunked,", ",chunked", "x",
                   "chunked;q=1", "\"chunked\"", "chunke", "chunkedx", "", "xchunked", "chunked\x0b", "chun ked", "compress", "br"):
        yield f"coding {coding!r}", raw("POST /tokenize HTTP/1.1", JSON.strip(), f"Transfer-Encoding: {coding}",
                                        body=b"0\r\n\r\n"), 400
        yield f"length and coding {coding!r}", raw("POST /tokenize HTTP/1.1", JSON.strip(), "Content-Length: 5",
                                                   f"Transfer-Encoding: {coding}", body=b"0\r\n\r\n"), 400
    for order in (("Content-Length: 5", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", "Content-Length: 5"),
                  ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ("transfer-encoding: chunked", "CONTENT-LENGTH: 0"),
                  ("Transfer-Encoding: chunked", "Transfer-Encoding: identity")):
        yield f"two framings {order}", raw("POST /tokenize HTTP/1.1", JSON.strip(), *order, body=b"0\r\n\r\n"), 400
    yield "chunks in HTTP/1.0", raw("POST /tokenize HTTP/1.0", JSON.strip(), "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400
    # 16 hexadecimal digits are a number, 17 are none.
    for size in ("", " ", "g", "-1", "+1", "0x5", "5g", "5 5", "_5", "\xb2", "f" * 16, "f" * 17, "1" + "0" * 16, " 5", "5,", "١",
                 "nan", "#5", "5\x00", "5\x0b"):
        yield f"chunk size {size!r}", chunked(size.encode() + b"\r\nhello\r\n0\r\n\r\n"), 413 if size == "f" * 16 else 400
    for name, body in (("chunk too long", b"5\r\nhelloworld\r\n0\r\n\r\n"), ("no line end after a chunk", b"5\r\nhello0\r\n\r\n"),
                       ("bare LF after the size", b"5\nhello\r\n0\r\n\r\n"), ("bare LF after a chunk", b"5\r\nhello\n0\r\n\r\n"),
                       ("CR alone after the size", b"5\rhello\r\n0\r\n\r\n"), ("LF CR", b"5\n\rhello\n\r0\n\r\n\r")):
        yield name, chunked(body), 400
    yield "endless chunk extension", chunked(b"5;" + b"x" * 70_000), 400
    yield "large chunks", chunked(b"%x\r\n" % (9 * 1024 * 1024) + b"x" * 100), 413


JSON_SYNTAX = [
    b"", b" ", b"{", b"}", b"[", b"]", b"{]", b"[}", b"[]", b"[{}]", b"null", b"true", b"5", b'"x"', b"{} {}", b"{}x", b"{},", b",{}",
    b"{'a': 1}", b"{a: 1}", b'{"a" 1}', b'{"a": }', b'{"a": 1,}', b'{,"a": 1}', b'{"a": 1 "b": 2}', b'{"a":: 1}', b'{"a": 1}}',
    b'{"a": [1,]}', b'{"a": [,1]}', b'{"a": [1 2]}', b'{"a": [1}', b'{"a": "x}', b'{"a": "x\n"}', b'{"a": "\x01"}', b'{"a": "\\x"}',
    b'{"a": "\\u12"}', b'{"a": "\\u12g4"}', b'{"a": "\\ud800"}', b'{"a": "\\udc00"}', b'{"a": "\\ud800\\u0041"}', b'{"a": "\\"}',
    b'{"a": tru}', b'{"a": True}', b'{"a": None}', b'{"a": undefined}', b'{"a": nan}', b'{"a": NaN}', b'{"a": Infinity}',
    b'{"a": -Infinity}', b'{"a": inf}', b'{"a": +1}', b'{"a": 01}', b'{"a": 1.}', b'{"a": .1}', b'{"a": 1e}', b'{"a": 1e+}',
    b'{"a": 0x10}', b'{"a": 1_000}', b'{"a": --1}', b'{"a": 1/2}', b"// c\n{}", b'{"a": 1 /* c */}', b"{}\0", b"\0", b"\xff\xfe{\0}\0",
    b"\xef\xbb\xbf{}", b'{"\xff": 1}', b'{"a": "\xc0\xaf"}', b'{"a": "\xed\xa0\x80"}', b'{"a": "\xf4\x90\x80\x80"}',
    b'{"a": "\xe2\x82"}', b'{"a": "\x80"}', b"[" * 65, b"[" * 100_000, b'{"a":' * 65 + b"1" + b"}" * 65, b'{"a":' * 100_000,
    b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", b'{"a": [' + b"1," * 200_001 + b"1]}", b"<xml/>", b"a=1&b=2", b"--x\r\n\r\n",
]
PATHS = ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize", "/apply-template")
MINIMAL = {"/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
           "/v1/completions": {"prompt": "x", "max_tokens": 1}, "/tokenize": {"content": "x"}, "/detokenize": {"tokens": [1]},
           "/apply-template": {"messages": [{"role": "user", "content": "x"}]}}

# One value of every JSON type; a field refuses those that are not its own.
VALUES = {"string": "x", "number": 0.5, "integer": 1, "list": ["x"], "object": {"x": 1}, "bool": True, "nested": [[{}]]}
NUMBERS = ("temperature", "top_p", "min_p", "typical_p", "presence_penalty", "frequency_penalty", "repeat_penalty",
           "repetition_penalty", "dry_multiplier", "dry_base", "xtc_probability", "xtc_threshold", "top_n_sigma")
INTEGERS = ("top_k", "n", "max_tokens", "min_tokens", "repeat_last_n", "dry_allowed_length", "dry_penalty_last_n", "seed",
            "min_keep", "id_slot", "priority")
BOOLS = ("stream", "ignore_eos", "cache_prompt", "skip_special_tokens", "store", "return_progress", "timings_per_token")
STRINGS = ("service_tier", "prompt_cache_key", "safety_identifier", "cache_salt")
OBJECTS = ("stream_options",)
OUT_OF_RANGE = {
    "temperature": (-0.1, 1e6, -1e308), "top_p": (-0.1, 1.1, 1e308), "min_p": (-0.1, 1.1), "typical_p": (-0.1, 1.1),
    "presence_penalty": (-1e9, 1e9), "frequency_penalty": (-1e9, 1e9), "repeat_penalty": (-1, 0, 1e9),
    "repetition_penalty": (-1, 0, 1e9), "xtc_probability": (-0.1, 1.1), "top_k": (-2, 2**31, 2**53, -2**63, 1e300),
    "n": (0, -1, 9, 2**31, 2**64 - 1), "max_tokens": (-2, 2**31, 2**63, 1e300), "min_tokens": (-1, 2**31), "seed": (0.5, 1e300),
    "priority": (101, -101, 2**40), "repeat_last_n": (-2, 2**31), "dry_penalty_last_n": (-2, 2**31),
}


def wrong_fields():
    def own(names, fitting):
        for name in names:
            for kind, value in VALUES.items():
                if kind not in fitting:
                    yield name, value
    accepted = (own(NUMBERS, ("number", "integer")), own(INTEGERS, ("integer",)), own(BOOLS, ("bool",)), own(STRINGS, ("string",)),
                own(OBJECTS, ("object",)))
    yield from itertools.chain(*accepted)
    for name, values in OUT_OF_RANGE.items():
        for value in values:
            yield name, value
    yield from (("stop", v) for v in (5, [5], {"a": 1}, [["x"]], [None], True, ["x"] * 17, ["x" * 257], [""], ""))
    yield from (("logit_bias", v) for v in ({"5": 101}, {"5": "x"}, {"x": 1}, {"-5": 1}, {"99999999999": 1}, [[1]], [1], [[1, 2, 3]],
                                           "x", 5, True, {"1.5": 1}, {"5": None}, {"5": [1]}))
    yield from (("samplers", v) for v in (["magic"], [5], 5, {"a": 1}, True))
    yield from (("stop_token_ids", v) for v in ([-1], ["a"], [0.5], [2**31], "x", 5, [10**7], [None]))
    yield from (("model", v) for v in (5, ["x"], {"x": 1}, True))
    yield from ((name, 1) for name in ("nonsense", "", "Temperature", "temperature ", "top-k", "__proto__", "constructor", "prompt\0",
                                       "\u202e", "é" * 100, "a" * 10_000, "max_token", "N", "messages[]", "$where"))


def bodies():
    for path in PATHS:
        for i, data in enumerate(JSON_SYNTAX):
            yield f"{path} syntax {i} {data[:20]!r}", post(path, data), 400
    for path in ("/v1/chat/completions", "/v1/completions"):
        for i, (name, value) in enumerate(wrong_fields()):
            yield f"{path} {name[:20]} {i} {str(value)[:20]}", post(path, MINIMAL[path] | {name: value}), 400
        for name in ("temperature", "top_p", "seed", "max_tokens", "n"):
            for text in ("1e999", "-1e999", "9" * 400, "NaN", "Infinity", "1" + "0" * 309 + ".0"):
                data = json.dumps(MINIMAL[path] | {name: "@"}).replace('"@"', text).encode()
                yield f"{path} {name} {text[:9]}", post(path, data), 400
        yield f"{path} other model", post(path, MINIMAL[path] | {"model": "other"}), 404
    for prompt in ("", [], [[]], [""], [0.5], [10**7], [-1], [2**63], ["a", 1], [1, "a"], [None], {"a": 1}, True, 5, [["a"]], ["a"] * 257, [[[1]]], [True]):
        yield f"prompt {str(prompt)[:30]}", post("/v1/completions", {"prompt": prompt, "max_tokens": 1}), 400
    yield "no prompt", post("/v1/completions", {"max_tokens": 1}), 400
    for messages in (None, [], {}, "x", 5, [5], [None], ["x"], [[]], [{}], [{"role": "user"}], [{"content": "x"}],
                     [{"role": 5, "content": "x"}], [{"role": "wizard", "content": "x"}], [{"role": "", "content": "x"}],
                     [{"role": "user", "content": 5}], [{"role": "user", "content": True}], [{"role": "user", "content": {}}],
                     [{"role": "user", "content": [5]}], [{"role": "user", "content": [{}]}],
                     [{"role": "user", "content": [{"type": "text"}]}], [{"role": "user", "content": [{"type": "text", "text": 5}]}],
                     [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}],
                     [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
                     [{"role": "user", "content": "x", "surprise": 1}]):
        for path in ("/v1/chat/completions", "/apply-template", "/tokenize"):
            yield f"{path} messages {str(messages)[:40]}", post(path, {"messages": messages}), 400
    for tokens in (5, "x", {}, True, [0.5], ["x"], [-1], [None], [2**31], [[1]], [1e300], [True]):
        yield f"tokens {tokens}", post("/detokenize", {"tokens": tokens}), 400
    for content in (5, ["x"], {}, True, 0.5):
        yield f"content {content}", post("/tokenize", {"content": content}), 400
    for name, value in (("add_special", 1), ("parse_special", "x"), ("with_pieces", [True]), ("model", 5), ("nonsense", 1)):
        yield f"tokenize {name}", post("/tokenize", {"content": "x", name: value}), 400
    yield "long prompt", post("/v1/completions", {"prompt": "word " * 20_000, "max_tokens": 1}), 400


def corpus():
    """The distinct requests, by their bytes."""
    seen, cases = set(), []
    for name, data, status in itertools.chain(request_lines(), fields(), framing(), bodies()):
        if data not in seen:
            seen.add(data)
            cases.append((name, data, status))
    return cases
