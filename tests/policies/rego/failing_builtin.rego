package agree.failing_builtin

# A built-in that fails is undefined, not an error.
allow if to_number(input.attributes.request.http.headers["x-level"]) >= 3

allow if json.unmarshal(input.attributes.request.http.headers["x-json"]).ok == true
