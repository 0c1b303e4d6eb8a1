package agree.walks

import rego.v1

secrets contains path if {
	some path, value
	walk(input.parsed_body, [path, value])
	path[count(path) - 1] == "secret"
	value != ""
}

allow if {
	input.parsed_body
	count(secrets) == 0
}
